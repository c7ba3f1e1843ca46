"""export to GGUF: the gguf package and our reader find what was there, llama.cpp computes and cuts text as we do."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch

from haina.checkpoint.checkpoint import Checkpoint, save
from haina.checkpoint.export import export
from haina.checkpoint.gguf_blocks import BLOCKS, decode
from haina.checkpoint.raw import Raw
from haina.checkpoint.write_gguf import NUMBERS, quantised
from haina.model.config import ModelConfig
from haina.model.decoder import Decoder
from haina.text.messages import Message, assemble, template_for
from haina.text.vocabulary import learn

ROPE = ModelConfig(
    architecture="BaichuanForCausalLM",
    vocab_size=600,
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=4,
    head_dim=16,
    max_position_embeddings=256,
    rotary_dim=16,
    head="normed",
)
ALIBI = replace(ROPE, position="alibi", rotary_dim=0, num_hidden_layers=40, num_attention_heads=4)
GROUPED = replace(
    ROPE,
    architecture="LlamaForCausalLM",
    head="plain",
    num_key_value_heads=2,
    rope_theta=5e5,
    tie_word_embeddings=True,
)
LINES = ["床前明月光，疑是地上霜。", "The quick brown fox jumps over the lazy dog.\n12 + 30 = 42"]
TEXTS = ["你好，床前明月光！ Hello  fox\n\n quick", "  leading", "\ttab 😀 <reserved_3>", *LINES]

Make = Callable[..., Checkpoint]


@pytest.fixture
def source(tmp_path: Path) -> Make:
    """source(config, dtype) → a chat model with random weights and spare rows, in tmp_path/source."""

    def make(config: ModelConfig = ROPE, dtype: str = "F32") -> Checkpoint:
        draw = np.random.default_rng(5)
        shapes = config.tensor_shapes().items()
        arrays = ((name, draw.standard_normal(shape).astype(np.float32) * 0.2) for name, shape in shapes)
        save(
            tmp_path / "source",
            config,
            ((name, Raw.of(array).rounded(dtype)) for name, array in arrays),
            tokenizer=learn(LINES * 4, pieces=540),
            generation={"user_token_id": 195, "assistant_token_id": 196, "eos_token_id": 2},
            source={"name": "small", "licence": "none needed"},
            files={"LICENSE": b"Take it."},
        )
        return Checkpoint.open(tmp_path / "source")

    return make


@pytest.mark.parametrize("config", [ROPE, ALIBI, GROUPED])
@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_our_reader_finds_what_was_there(
    config: ModelConfig, dtype: str, source: Make, tmp_path: Path
) -> None:
    given = source(config, dtype)
    file = export(given, tmp_path / "there", to="gguf")
    assert file.name == f"there-{dtype}.gguf"
    for path in (file, tmp_path / "there"):
        made = Checkpoint.open(path)
        assert made.names() == given.names() and made.adds_bos == given.adds_bos
        assert made.generation == given.generation and made.tokenizer_bytes() == given.tokenizer_bytes()
        for name in given.names():
            matrix = len(given.shape(name)) == 2
            expected = given.tensor(name).rounded(dtype if matrix else "F32").float32()
            assert np.array_equal(made.tensor(name).float32(), expected), name
    family = "BaichuanForCausalLM" if config is ALIBI else "LlamaForCausalLM"
    assert made.config == replace(config, architecture=family, head="plain")
    assert (tmp_path / "there" / "LICENSE").read_bytes() == b"Take it."


@pytest.mark.parametrize("alone", [False, True])
def test_the_vocabulary_lies_in_the_file(alone: bool, source: Make, tmp_path: Path) -> None:
    given = source()
    file = export(given, tmp_path / "there", to="gguf")
    if alone:
        file = file.rename(tmp_path / "alone.gguf")
    made = Checkpoint.open(file).tokenizer
    assert made.size == given.tokenizer.size and made.control_ids == given.tokenizer.control_ids
    assert all(made.encode(text) == given.tokenizer.encode(text) for text in TEXTS)


def test_a_destination_that_is_a_file_is_one(source: Make, tmp_path: Path) -> None:
    given = source()
    made = export(given, tmp_path / "there.gguf", to="gguf")
    assert made == tmp_path / "there.gguf" and made.is_file() and Checkpoint.open(made)
    with pytest.raises(ValueError, match="already exists"):
        export(given, made, to="gguf")
    assert not [left for left in tmp_path.iterdir() if "there" in left.name and left != made]


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0"])
def test_blocks_are_those_of_the_package(kind: Any) -> None:
    weights = np.random.default_rng(3).standard_normal((50, 64)).astype(np.float32)
    weights[7] = 0
    ours = quantised(weights, kind)
    theirs = gguf.quantize(weights, gguf.GGMLQuantizationType[kind])
    assert np.array_equal(ours.view(np.uint8), theirs.reshape(-1))
    back = decode(BLOCKS[NUMBERS[kind]], ours.view(np.uint8)).reshape(weights.shape)
    assert np.abs(back - weights).max() < np.abs(weights).max() / (100 if kind == "Q8_0" else 7)


def test_the_package_reads_it(source: Make, tmp_path: Path) -> None:
    given = source(GROUPED)
    reader = gguf.GGUFReader(export(given, tmp_path / "there", to="gguf", dtype="q4_0"))
    value = {key: field.contents() for key, field in reader.fields.items()}
    assert value["general.architecture"] == "llama" and value["general.license"] == "none needed"
    assert value["llama.rope.freq_base"] == 5e5 and value["llama.attention.head_count_kv"] == 2
    assert (
        value["tokenizer.ggml.eot_token_id"] == 195
        and value["tokenizer.ggml.add_bos_token"] == given.adds_bos
    )
    assert len(value["tokenizer.ggml.tokens"]) == 600 and value["tokenizer.ggml.tokens"][-1] == "[PAD599]"
    kinds = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    assert len(kinds) == len(given.names()) and "output.weight" not in kinds
    assert kinds["token_embd.weight"] == "Q8_0" and kinds["blk.2.attn_norm.weight"] == "F32"
    assert kinds["blk.2.attn_k.weight"] == kinds["blk.0.ffn_down.weight"] == "Q4_0"


def test_rows_of_no_whole_blocks_stay_in_16_bits(source: Make, tmp_path: Path) -> None:
    made = Checkpoint.open(
        export(source(replace(ROPE, intermediate_size=100)), tmp_path / "there", to="gguf", dtype="q8_0")
    )
    assert made.coding("model.layers.0.mlp.down_proj.weight") == "F16"
    assert made.coding("model.layers.0.mlp.up_proj.weight") == "Q8_0"


@pytest.mark.parametrize("config", [ROPE, ALIBI, GROUPED])
@torch.no_grad()
def test_llama_cpp_computes_and_cuts_as_we_do(config: ModelConfig, source: Make, tmp_path: Path) -> None:
    llama_cpp = pytest.importorskip("llama_cpp")
    given = source(config)
    file = export(given, tmp_path / "there", to="gguf")
    exact = {"type_k": 0, "type_v": 0, "flash_attn": False}  # keys and values in float32
    theirs = llama_cpp.Llama(str(file), n_ctx=256, logits_all=True, verbose=False, n_threads=1, **exact)
    ids = np.random.default_rng(1).integers(0, 500, 40).tolist()
    theirs.eval(ids)
    ours = Decoder.load(given.config, ((name, raw.float32()) for name, raw in given.tensors()))
    expected = ours(torch.tensor([ids]))[0].numpy()
    assert np.abs(theirs.scores[:40] - expected).max() < 2e-4
    for text in TEXTS:
        assert theirs.tokenize(text.encode(), add_bos=False, special=False) == given.tokenizer.encode(text)
    formatter = llama_cpp.llama_chat_format.Jinja2ChatFormatter(
        theirs.metadata["tokenizer.chat_template"], eos_token="</s>", bos_token="<s>"
    )
    messages = [
        Message("system", "Be kind."),
        Message("user", " 你好"),
        Message("assistant", "fox"),
        Message("user", "x"),
    ]
    prompt = formatter(messages=[vars(message) for message in messages]).prompt
    template = template_for(config.architecture, given.generation)
    assert template is not None
    found = theirs.tokenize(prompt.encode(), add_bos=False, special=True)
    assert tuple(found) == assemble(messages, given.tokenizer, template, room_tokens=200).ids
    theirs.close()
