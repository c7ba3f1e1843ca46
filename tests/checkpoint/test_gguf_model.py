"""GGUF files as checkpoints: made from folders the way llama.cpp's converter does it, and equal to them again."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch

from haina.apps.fit import assess, candidate, table
from haina.checkpoint.checkpoint import Checkpoint
from haina.checkpoint.convert import BITS, convert
from haina.checkpoint.gguf_vocabulary import vocabulary
from haina.checkpoint.read_gguf import read_gguf
from haina.checkpoint.web import Web
from haina.engine.engine import Engine
from haina.text import spm
from haina.text.messages import template_for
from haina.text.tokenizer import Tokenizer

Make = Callable[..., Path]

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 40,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
}
TINY = {"hidden_size": 8, "intermediate_size": 12, "num_attention_heads": 2, "rms_norm_eps": 1e-6}
# The four Baichuans, by what a GGUF file tells of them: layers and vocabulary.
BAICHUANS = {
    "7b": TINY | {"num_hidden_layers": 32, "vocab_size": 40, "max_position_embeddings": 32},
    "13b": TINY | {"num_hidden_layers": 40, "vocab_size": 40, "model_max_length": 32},
    "2-7b": TINY | {"num_hidden_layers": 32, "vocab_size": 125696, "max_position_embeddings": 32},
    "2-13b": TINY
    | {"num_hidden_layers": 40, "vocab_size": 125697, "model_max_length": 32, "z_loss_weight": 0},
}
for name, hf in BAICHUANS.items():
    hf["architectures"] = ["BaiChuanForCausalLM" if name == "7b" else "BaichuanForCausalLM"]
    hf["tie_word_embeddings"] = False


def same(ours: Checkpoint, theirs: Checkpoint) -> None:
    """The same network, tensor by tensor, to the last bit."""
    assert ours.config == theirs.config
    assert ours.names() == theirs.names()
    for (name, raw), (_, other) in zip(ours.tensors(), theirs.tensors(), strict=True):
        assert np.array_equal(raw.float32(), other.float32()), name


@pytest.mark.parametrize("which", BAICHUANS)
def test_a_baichuan_is_its_folder_again(which: str, folder: Make, weights: Any, write_gguf: Make) -> None:
    hf = BAICHUANS[which]
    state = weights(hf, dtype=torch.float32)
    same(Checkpoint.open(write_gguf(hf, state)), Checkpoint.open(folder(hf, state)))


@pytest.mark.parametrize("type", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("tied", [False, True])
def test_a_llama_is_its_folder_again(
    type: str, tied: bool, folder: Make, weights: Any, write_gguf: Make
) -> None:
    hf = LLAMA | {"tie_word_embeddings": tied}
    dtype = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}[type]
    state = weights(hf, packed=False, dtype=dtype)
    ours, theirs = Checkpoint.open(write_gguf(hf, state, type)), Checkpoint.open(folder(hf, state))
    same(ours, theirs)
    assert ours.dtype("model.layers.0.self_attn.q_proj.weight") == type
    assert ours.adds_bos


def test_logits_of_a_quantised_file(folder: Make, weights: Any, write_gguf: Make) -> None:
    """Q8_0 through the engine: what the 16-bit folder of the dequantised weights gives, within rounding."""
    state = weights(LLAMA, packed=False, dtype=torch.float32)
    file = write_gguf(LLAMA, state, "Q8_0")
    q8 = gguf.GGMLQuantizationType.Q8_0
    for w in state.values():
        if w.dim() == 2:
            w[:] = torch.from_numpy(gguf.quants.dequantize(gguf.quants.quantize(w.numpy(), q8), q8))
    prompt, answers = [1, 5, 9, 30], [[7, 8, 9], [2, 39]]
    ours, theirs = (
        Engine.open(Checkpoint.open(place), cache_dtype="F32").score(prompt, answers)
        for place in (file, folder(LLAMA, state))
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


@pytest.mark.parametrize("type", ["Q4_0", "Q8_0"])
def test_any_rows_of_a_quantised_file(type: str, weights: Any, write_gguf: Make) -> None:
    """q and k too, whose heads lie in another order: rows that begin and end inside a head."""
    state = weights(LLAMA, packed=False, dtype=torch.float32)
    checkpoint = Checkpoint.open(write_gguf(LLAMA, state, type))
    kind = gguf.GGMLQuantizationType[type]
    for name, w in state.items():
        if w.dim() == 2:
            expected = gguf.quants.dequantize(gguf.quants.quantize(w.numpy(), kind), kind)
            assert checkpoint.coding(name) == type and checkpoint.dtype(name) == "F32"
            assert np.array_equal(checkpoint.tensor(name).float32(), expected), name
            for start, stop in ((0, 1), (5, 23), (16, 32), (len(w) - 3, len(w))):
                assert np.array_equal(checkpoint.rows(name, start, stop).float32(), expected[start:stop])


@pytest.mark.parametrize(("type", "ready"), [("F16", True), ("F32", False), ("Q8_0", False), ("Q4_0", False)])
def test_fit_knows_what_is_decoded_to_float32(type: str, ready: bool, weights: Any, write_gguf: Make) -> None:
    file = write_gguf(LLAMA, weights(LLAMA, packed=False), type)
    said = table(assess(candidate(str(file), source="huggingface", web=Web()), context=None))
    assert said.splitlines()[-1] == "Fits as bf16" + ("." if ready else f": haina convert {file} --to bf16")


@pytest.mark.parametrize("to", ["w8", "bf16"])
def test_a_converted_file_is_a_folder_that_says_the_same(
    to: Any, weights: Any, write_gguf: Make, tmp_path: Path
) -> None:
    source = Checkpoint.open(write_gguf(LLAMA, weights(LLAMA, packed=False), "Q4_0"))
    convert(source, tmp_path / "converted", to=to)
    converted = Checkpoint.open(tmp_path / "converted")
    assert converted.config == source.config and converted.adds_bos
    assert converted.tokenizer.encode("the sea") == source.tokenizer.encode("the sea")
    for name, raw in converted.tensors():
        expected = source.tensor(name, bits=BITS[to])
        expected = expected if to == "w8" else expected.rounded("BF16")
        assert np.array_equal(raw.data, expected.data), name


def test_a_folder_with_one_file_is_that_file(weights: Any, write_gguf: Make) -> None:
    file = write_gguf(LLAMA, weights(LLAMA, packed=False), "F16", metadata={"general.name": "Sea"})
    checkpoint = Checkpoint.open(file.parent)
    assert checkpoint.folder == file and checkpoint.files() == [file]
    assert checkpoint.manifest and checkpoint.manifest.source == {"name": "Sea"}
    write_gguf(LLAMA, weights(LLAMA, packed=False), name="other.gguf")
    with pytest.raises(
        ValueError, match=r"holds 2 GGUF files \(model.gguf, other.gguf\); give the one you mean"
    ):
        Checkpoint.open(file.parent)


def test_a_chat_model_has_the_format_of_its_family(weights: Any, write_gguf: Make) -> None:
    hf = BAICHUANS["13b"]
    eos = {"tokenizer.ggml.eos_token_id": (gguf.GGUFValueType.UINT32, 2)}
    base = Checkpoint.open(write_gguf(hf, weights(hf), metadata=eos, name="base.gguf"))
    assert template_for(base.config.architecture, base.generation) is None
    named = eos | {"general.name": "Baichuan-13B-Chat"}
    chat = Checkpoint.open(write_gguf(hf, weights(hf), metadata=named, name="chat.gguf"))
    template = template_for(chat.config.architecture, chat.generation)
    assert template and (template.user_id, template.assistant_id, template.eos_id) == (195, 196, 2)
    assert not chat.adds_bos


def test_what_lies_beside_the_file_counts(weights: Any, write_gguf: Make, tokenizer_bytes: bytes) -> None:
    hf = BAICHUANS["7b"]
    file = write_gguf(hf, weights(hf))
    assert "full-width" in Checkpoint.open(file).notes[0]
    (file.parent / "generation_config.json").write_text('{"top_k": 7}')
    (file.parent / "tokenizer.model").write_bytes(tokenizer_bytes)
    checkpoint = Checkpoint.open(file)
    assert checkpoint.tokenizer_bytes() == tokenizer_bytes and not checkpoint.notes
    assert checkpoint.generation == {"top_k": 7}


def test_the_vocabulary_of_another_model_beside_the_file_does_not_count(
    weights: Any, write_gguf: Make
) -> None:
    file = write_gguf(LLAMA, weights(LLAMA, packed=False))
    own = Checkpoint.open(file).tokenizer_bytes()
    pieces = [("<unk>", 0.0, spm.UNKNOWN), ("<s>", 0.0, spm.CONTROL), ("</s>", 0.0, spm.CONTROL)]
    pieces += [(chr(0x4E00 + n), -float(n), spm.NORMAL) for n in range(27)]
    other = spm.compose(pieces, bos_id=1, eos_id=2, add_dummy_prefix=False, remove_extra_whitespaces=False)
    (file.parent / "tokenizer.model").write_bytes(other)
    assert Checkpoint.open(file).tokenizer_bytes() == own


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"general.architecture": "qwen2"}, "architecture 'qwen2' is not one that haina runs from GGUF"),
    ({"llama.rope.scaling.type": "yarn"}, "llama.rope.scaling.type = 'yarn' changes the network"),
    ({"llama.attention.clamp_kqv": 1.5}, "llama.attention.clamp_kqv = '1.5' changes the network"),
    ({"llama.two\nlines": 1}, r"llama.two\\nlines = '1' changes the network"),
    ({"llama.rope.dimension_count": 8}, "llama.rope.dimension_count = '8' changes the network"),
    ({"llama.tensor_data_layout": "Other"}, "llama.tensor_data_layout = 'Other' changes the network"),
    ({"llama.embedding_length": None}, "hidden_size = None cannot be run"),
    ({"llama.attention.head_count": 3}, "num_key_value_heads = 2 cannot be run"),
    ({"llama.feed_forward_length": 95}, r"gate_proj.weight has shape \[96, 64\]"),
    ({"llama.block_count": 3}, "missing model.layers.2"),
    ({"tokenizer.ggml.model": "gpt2"}, "its vocabulary is of kind 'gpt2'"),
    ({"tokenizer.ggml.scores": None}, "has no tokenizer.ggml.scores for each"),
    ({"tokenizer.ggml.eos_token_id": 99}, "tokenizer.ggml.eos_token_id = '99'"),
    ({"general.alignment": 33}, "general.alignment = 33"),
    ({"general.architecture": "llama", "general.name": 7}, "general.name = '7'"),
    ({"tokenizer.ggml.model": ["llama"] * 2}, "tokenizer.ggml.model = "),
    ({"llama.block_count": [2] * 90}, "num_hidden_layers = array"),
    ({"split.count": 3}, "one of 3 parts; join them first: llama-gguf-split --merge"),
]


@pytest.mark.parametrize("change, message", REFUSED, ids=[str(change)[:60] for change, _ in REFUSED])
def test_what_we_cannot_run_is_named(
    change: dict[str, Any], message: str, weights: Any, write_gguf: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_gguf(LLAMA, weights(LLAMA, packed=False), metadata=change)
    with pytest.raises(ValueError, match=message) as caught:
        Checkpoint.open(file)
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)
    monkeypatch.setenv("HAINA_LANG", "zh")
    with pytest.raises(ValueError, match=r"[；，]"):
        Checkpoint.open(file)


def test_layers_that_do_not_say_the_positions_are_refused(weights: Any, write_gguf: Make) -> None:
    hf = BAICHUANS["13b"] | {"num_hidden_layers": 24}
    with pytest.raises(ValueError, match=r"baichuan.block_count = '24'; only 32 \(RoPE\) and 40 \(ALiBi\)"):
        Checkpoint.open(write_gguf(hf, weights(hf)))


def test_tensors_that_are_not_the_models(weights: Any, write_gguf: Make) -> None:
    state = weights(LLAMA, packed=False)
    more = {"rope_freqs.weight": np.ones(8, np.float32)}  # LLaMA 3.1's, which scale the rotation
    with pytest.raises(ValueError, match=r"unknown rope_freqs\.weight"):
        Checkpoint.open(write_gguf(LLAMA, state, tensors=more))
    twice = {"model.norm.weight": np.ones(64, np.float32)}
    with pytest.raises(ValueError, match=r"two tensors are 'model.norm.weight'"):
        Checkpoint.open(write_gguf(LLAMA, state, tensors=twice, name="twice.gguf"))


def test_a_scale_that_is_no_number(weights: Any, write_gguf: Make) -> None:
    file = write_gguf(LLAMA, weights(LLAMA, packed=False), "Q8_0")
    name = "model.layers.1.mlp.down_proj.weight"
    block = read_gguf(file).tensors["blk.1.ffn_down.weight"].data[:34].tobytes()
    content = file.read_bytes().replace(block, b"\x00\x7e" + block[2:])
    file.unlink()  # it is still mapped
    file.write_bytes(content)
    with pytest.raises(ValueError, match=f"tensor {re.escape(name)} holds NaN or infinity"):
        Checkpoint.open(file).tensor(name)


def test_a_vocabulary_alone_is_no_model(data: Path) -> None:
    with pytest.raises(ValueError, match="holds no weights, only a vocabulary"):
        Checkpoint.open(data / "baichuan" / "ggml-vocab-baichuan-7b.gguf")


def texts(data: Path) -> Iterator[str]:
    """Some of everything: what people write in two languages, and what only tests hold."""
    for file in ("baichuan/ggml-vocab-llama-spm.inp", "README.md"):
        yield from (data / file).read_text(encoding="utf-8").split("\n\n")
    yield from (
        "床前明月光，疑是地上霜。",
        "两岸猿声啼不住   轻舟已过万重山",
        "3.14×10² ①②③",
        "<h2>标题</h2>\t<reserved_102>",
    )


def test_the_published_vocabulary_cuts_text_as_its_file_does(data: Path) -> None:
    ours = Tokenizer(vocabulary(read_gguf(data / "baichuan" / "ggml-vocab-baichuan-7b.gguf")))
    theirs = Tokenizer.open(data / "baichuan" / "baichuan_7b_tokenizer.rebuilt.model")
    assert (ours.size, ours.bos_id, ours.eos_id) == (64000, 1, 2)
    assert ours.control_ids == theirs.control_ids
    for text in texts(data):
        assert ours.encode(text) == theirs.encode(text)
        assert ours.encode(text, control=True) == theirs.encode(text, control=True)
        assert ours.decode(ours.encode(text)) == theirs.decode(theirs.encode(text))


def test_padding_is_no_piece(weights: Any, write_gguf: Make, tokenizer_bytes: bytes) -> None:
    """125,697 tokens were seen: rows without a piece, which nothing may say."""
    V = gguf.GGUFValueType
    reader = Checkpoint.open(write_gguf(LLAMA, weights(LLAMA, packed=False), name="plain.gguf")).tokenizer
    pieces = [reader.piece(id) for id in range(reader.size)]
    pad = {
        "tokenizer.ggml.tokens": (V.ARRAY, [*pieces, *(f"[PAD{n}]" for n in range(30, 40))], V.STRING),
        "tokenizer.ggml.scores": (V.ARRAY, [-1.0 * n for n in range(40)], V.FLOAT32),
        "tokenizer.ggml.token_type": (V.ARRAY, [2, 3, 3, *[1] * 27, *[5] * 10], V.INT32),
    }
    tokenizer = Checkpoint.open(write_gguf(LLAMA, weights(LLAMA, packed=False), metadata=pad)).tokenizer
    assert tokenizer.size == 30
    assert tokenizer.encode("the sea") == reader.encode("the sea")
