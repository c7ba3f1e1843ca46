"""export to folders: transformers computes and cuts text as we do; what a form cannot say is refused."""

import errno
import io
import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
import torch
from safetensors.torch import load_file

from haina.checkpoint import export_folder
from haina.checkpoint.checkpoint import Checkpoint, save
from haina.checkpoint.convert import convert
from haina.checkpoint.export import export
from haina.checkpoint.raw import Raw
from haina.model.config import ModelConfig
from haina.model.decoder import Decoder
from haina.text.messages import Message, assemble, template_for

transformers = pytest.importorskip("transformers")

LINES = [
    "床前明月光，疑是地上霜。举头望明月，低头思故乡。",
    "The quick brown fox jumps over the lazy dog. It was the best of times, it was the worst of times.",
    "两岸猿声啼不住，轻舟已过万重山。  你好，世界！ Hello, world! 12 + 30 = 42",
]
RESERVED = [f"<reserved_{n}>" for n in range(200)]
# As Baichuan 1's tokenizer.model: NFKC that symbols bypass, a dummy prefix, roles among the symbols.
BAICHUAN_1 = {
    "normalization_rule_name": "nmt_nfkc",
    "user_defined_symbols": ["\n", "，", "１", "<br/>", *RESERVED, "  "],
}
# As ours and Baichuan 2's: no map, no prefix, roles are control pieces.
BAICHUAN_2 = {
    "normalization_rule_name": "identity",
    "add_dummy_prefix": False,
    "user_defined_symbols": ["\n", "\t", "  ", "0"],
    "control_symbols": RESERVED,
}
LLAMA = {"normalization_rule_name": "identity"}
SPACES = {"normalization_rule_name": "identity", "remove_extra_whitespaces": True}
CHAT = {"user_token_id": 195, "assistant_token_id": 196, "eos_token_id": 2}
TEXTS = [
    "", " ", "\n", "，", "你好，世界！Hello  world\n\n 春眠不觉晓１２３ＡＢＣ", "  leading,   trailing  ",
    "\ttab ℃ …… é", "1230 3.14", "a\r\nb", "😀 龘", "<div>hi</div><br/> <br/>x", "　全角空格", *LINES,
]  # fmt: skip

ROPE = ModelConfig(
    architecture="BaiChuanForCausalLM",
    vocab_size=700,
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=4,
    head_dim=16,
    max_position_embeddings=128,
    rotary_dim=16,
)
NORMED = replace(ROPE, architecture="BaichuanForCausalLM", head="normed")
ALIBI = replace(NORMED, position="alibi", rotary_dim=0)
GROUPED = replace(
    ROPE,
    architecture="LlamaForCausalLM",
    num_key_value_heads=2,
    head_dim=24,
    rotary_dim=24,
    rope_theta=5e5,
    tie_word_embeddings=True,
)

Make = Callable[..., Checkpoint]


def learn(**settings: Any) -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES * 4),
        model_writer=model,
        minloglevel=2,
        **{
            "model_type": "bpe",
            "vocab_size": 640,
            "hard_vocab_limit": False,
            "character_coverage": 0.99,
            "byte_fallback": True,
            "remove_extra_whitespaces": False,
            **settings,
        },
    )
    return model.getvalue()


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """source(config, vocabulary, dtype=…, chat=…) → a model with random weights in tmp_path/source."""
    monkeypatch.setenv("HAINA_LANG", "en")

    def make(
        config: ModelConfig = ROPE,
        vocabulary: dict[str, Any] = BAICHUAN_2,
        *,
        dtype: str = "F32",
        chat: bool = True,
    ) -> Checkpoint:
        draw = np.random.default_rng(5)
        shapes = config.tensor_shapes().items()
        arrays = ((name, draw.standard_normal(shape).astype(np.float32) * 0.2) for name, shape in shapes)
        save(
            tmp_path / "source",
            config,
            ((name, Raw.of(array).rounded(dtype)) for name, array in arrays),
            tokenizer=learn(**vocabulary),
            generation=CHAT if chat else {},
            source={"name": "small", "licence": "none needed", "made": "by chance"},
            files={
                "LICENSE": b"Take it.",
                "tokenizer_config.json": json.dumps({"add_bos_token": not chat}).encode(),
            },
        )
        return Checkpoint.open(tmp_path / "source")

    return make


def assert_same_tensors(made: Checkpoint, given: Checkpoint, dtype: str) -> None:
    assert made.names() == given.names()
    for name in given.names():
        found, expected = made.tensor(name), given.tensor(name).rounded(dtype)
        assert (found.dtype, found.shape) == (dtype, expected.shape)
        assert np.array_equal(found.data, expected.data), name


@pytest.mark.parametrize(
    ("config", "vocabulary"),
    [(ROPE, BAICHUAN_1), (NORMED, BAICHUAN_2), (GROUPED, LLAMA), (GROUPED, SPACES)],
    ids=["Baichuan", "Baichuan 2", "LLaMA", "LLaMA without extra spaces"],
)
@torch.no_grad()
def test_transformers_computes_and_cuts_as_we_do(
    config: ModelConfig, vocabulary: dict[str, Any], source: Make, tmp_path: Path
) -> None:
    baichuan = "user_defined_symbols" in vocabulary
    given = source(config, vocabulary, chat=baichuan)
    made = export(given, tmp_path / "there", to="safetensors")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(made)
    ours = Decoder.load(given.config, ((name, raw.float32()) for name, raw in given.tensors()))
    ids_BT = torch.randint(0, config.vocab_size, (2, 40), generator=torch.Generator().manual_seed(0))
    assert torch.allclose(ours(ids_BT), theirs(ids_BT).logits, rtol=0, atol=1e-4)
    tokenizer = transformers.AutoTokenizer.from_pretrained(made)
    for text in TEXTS:
        ids = given.tokenizer.encode(text)
        assert tokenizer.encode(text) == [given.tokenizer.bos_id] * given.adds_bos + ids, text
        assert tokenizer.decode(ids) == given.tokenizer.decode(ids)
    assert given.adds_bos != baichuan
    if baichuan:
        assert theirs.generation_config.eos_token_id == [2, 195]
        conversation = [Message("system", "Be kind."), Message("user", " 你好，"), Message("assistant", "")]
        for messages in (conversation, conversation[1:2], [*conversation, Message("user", "写诗\n")]):
            template = template_for(config.architecture, given.generation)
            assert template is not None
            expected = assemble(messages, given.tokenizer, template, room_tokens=1000)
            asked = [vars(message) for message in messages]
            found = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=False)
            assert tuple(found) == expected.ids


@pytest.mark.parametrize("config", [NORMED, GROUPED])
def test_we_read_it_back_and_it_says_where_it_comes_from(
    config: ModelConfig, source: Make, tmp_path: Path
) -> None:
    given = source(config, dtype="BF16")
    made = Checkpoint.open(export(given, tmp_path / "there", to="safetensors", dtype="f32"))
    assert_same_tensors(made, given, "F32")  # the head of NORMED is folded by both
    assert made.config == replace(config, architecture="LlamaForCausalLM", head="plain")
    assert made.tokenizer_bytes() == given.tokenizer_bytes() and made.adds_bos == given.adds_bos
    assert template_for("LlamaForCausalLM", made.generation) is not None
    assert made.license_files()[0].read_bytes() == b"Take it."
    assert made.manifest is not None and made.manifest.source == {
        "name": "small", "licence": "none needed", "from": "source",
        "made": "by chance; haina export --to safetensors --dtype f32",
    }  # fmt: skip


@pytest.mark.parametrize("config", [ROPE, NORMED, ALIBI])
def test_baichuans_form_is_the_published_one(config: ModelConfig, source: Make, tmp_path: Path) -> None:
    given = source(config, dtype="BF16")
    made = export(given, tmp_path / "there", to="baichuan")
    state = load_file(made / "model.safetensors")
    assert state["model.layers.1.self_attn.W_pack.weight"].shape == (3 * 64, 64)
    before = load_file(
        given.folder / "model.safetensors"
    )  # the head as it was: Baichuan 2 normalises it itself
    assert set(state) == set(before) and all(torch.equal(state[name], before[name]) for name in before)
    assert Checkpoint.open(made).config == config
    convert(Checkpoint.open(made), tmp_path / "w8", to="w8")


@pytest.mark.parametrize("to", ["w8", "w4"])
def test_packed_weights_come_out_as_what_they_stand_for(to: Any, source: Make, tmp_path: Path) -> None:
    convert(source(NORMED), tmp_path / to, to=to)
    given = Checkpoint.open(tmp_path / to)
    assert_same_tensors(Checkpoint.open(export(given, tmp_path / "llama", to="safetensors")), given, "F16")
    baichuan = Checkpoint.open(export(given, tmp_path / "baichuan", to="baichuan", dtype="f32"))
    assert baichuan.config.head == given.config.head == "plain"
    assert_same_tensors(baichuan, given, "F32")


def test_nf4_comes_out_too(hf: Any, weights: Any, in_nf4: Any, folder: Any, tmp_path: Path) -> None:
    state, _ = in_nf4(weights(hf | {"hidden_size": 64}))
    given = Checkpoint.open(
        folder(hf | {"hidden_size": 64, "quantization_config": {"load_in_4bit": True}}, state)
    )
    made = Checkpoint.open(export(given, tmp_path / "there", to="safetensors", dtype="bf16"))
    assert_same_tensors(made, given, "BF16")


@pytest.mark.parametrize("to", ["safetensors", "baichuan"])
def test_shards(to: Any, source: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_folder, "SHARD_BYTES", 200_000)
    given = source()
    made = export(given, tmp_path / "there", to=to)
    files = sorted(made.glob("model-*-of-*.safetensors"))
    assert len(files) == int(files[0].name[-17:-12]) > 2
    assert all(path.stat().st_size < 210_000 or len(load_file(path)) == 1 for path in files)
    assert_same_tensors(Checkpoint.open(made), given, "F32")
    if to == "safetensors":
        transformers.AutoModelForCausalLM.from_pretrained(made)


@pytest.mark.parametrize(
    ("config", "how", "said"),
    [
        (
            ALIBI,
            {"to": "safetensors"},
            r"source: cannot .*: its positions are ALiBi; use --to baichuan",
        ),
        (ALIBI, {"to": "gguf"}, r"source: cannot .* 40 layers; use --to baichuan"),
        (GROUPED, {"to": "baichuan"}, r"source: cannot .* odd-sized heads.*; use --to safetensors"),
        (
            ROPE,
            {"to": "safetensors", "dtype": "q8_0"},
            "holds f32, f16, bf16; use one of these, or --to gguf",
        ),
        (
            ROPE,
            {"to": "gguf", "dtype": "q5_k"},
            "--dtype q5_k: --to gguf holds f32, f16, bf16, q8_0, q4_0; use one",
        ),
    ],
)
def test_what_a_form_cannot_say_is_refused(
    config: ModelConfig, how: Any, said: str, source: Make, tmp_path: Path
) -> None:
    given = source(config)
    with pytest.raises(ValueError, match=said):
        export(given, tmp_path / "there", **how)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize("to", ["safetensors", "gguf"])
def test_a_unigram_vocabulary_is_refused(to: Any, source: Make, tmp_path: Path) -> None:
    given = source(ROPE, LLAMA | {"model_type": "unigram", "vocab_size": 400, "hard_vocab_limit": False})
    with pytest.raises(ValueError, match="its vocabulary is unigram, LLaMA's is BPE; use --to baichuan"):
        export(given, tmp_path / "there", to=to)


@pytest.mark.parametrize("to", ["safetensors", "gguf", "baichuan"])
def test_whatever_stops_it_nothing_is_left(to: Any, source: Make, tmp_path: Path) -> None:
    def full(what: str, done: int, total: int) -> None:
        if done > total // 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    given = source()
    with pytest.raises(ValueError, match="there: not written: the disk is full; make room or choose another"):
        export(given, tmp_path / "there", to=to, progress=full)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("")
    with pytest.raises(
        ValueError, match="full: already exists and is not an empty folder; choose another name"
    ):
        export(given, tmp_path / "full", to=to)
    with pytest.raises(ValueError, match="that is the source itself"):
        export(given, given.folder, to=to)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "source"]


@pytest.mark.parametrize(
    ("to", "dtype"), [("safetensors", "f16"), ("gguf", "f16"), ("gguf", "q8_0"), ("gguf", "q4_0")]
)
def test_weights_too_large_for_the_type(to: Any, dtype: Any, source: Make, tmp_path: Path) -> None:
    given = source()
    name, large = "model.layers.1.mlp.up_proj.weight", np.full((96, 64), 1e9, np.float32)
    arrays = ((other, large if other == name else raw) for other, raw in given.tensors())
    save(tmp_path / "large", ROPE, arrays, tokenizer=given.tokenizer_bytes(), generation={}, source={})
    with pytest.raises(ValueError, match=f"tensor {name} has values too large for F16"):
        export(Checkpoint.open(tmp_path / "large"), tmp_path / "there", to=to, dtype=dtype)
    assert not (tmp_path / "there").exists()


@pytest.mark.parametrize("to", ["safetensors", "gguf"])
def test_memory_does_not_grow_with_the_model(to: Any, source: Make, tmp_path: Path) -> None:
    wide = replace(
        ROPE, vocab_size=24_000, hidden_size=512, intermediate_size=1024, head_dim=128, rotary_dim=128
    )
    given = source(replace(wide, num_hidden_layers=3), dtype="BF16")
    given.tokenizer  # noqa: B018  # read before
    tracemalloc.start()
    export(given, tmp_path / "there", to=to, dtype="f32")
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 12_000 * 256 * 4 < given.config.parameters * 4 / 3


def test_the_verb_exports_the_embedded_model(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "haina",
        "export",
        "haina-brook",
        str(tmp_path / "brook"),
        "--to",
        "gguf",
    ]
    env = {**os.environ, "HAINA_LANG": "en"}
    done, again = (subprocess.run(command, capture_output=True, encoding="utf-8", env=env) for _ in range(2))
    assert done.stdout.startswith(f"licence: Apache-2.0\n{tmp_path / 'brook' / 'brook-F16.gguf'}: done")
    assert (done.returncode, done.stderr, again.returncode, again.stdout) == (0, "", 2, "")
    assert again.stderr.count("\n") == 1 and "already exists" in again.stderr
    assert (tmp_path / "brook" / "LICENSE").exists()
