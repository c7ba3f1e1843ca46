"""Checkpoint.open on folders as people have them: the same tensors from every layout, one line per fault."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from haina.checkpoint.checkpoint import Checkpoint

LAYER = "model.layers.0.self_attn."
Make = Callable[..., Path]
Weights = Callable[..., dict[str, Any]]


def assert_equal(raw: Any, tensor: torch.Tensor) -> None:
    assert raw.shape == tuple(tensor.shape)
    assert np.array_equal(raw.data, tensor.contiguous().reshape(-1).view(torch.uint8).numpy())


@pytest.mark.parametrize("which, tensors, dtype", [("7b-style", 39, "F16"), ("13b-style", 21, "BF16")])
def test_fixture_folders_equal_torch_load(which: str, tensors: int, dtype: str, data: Path) -> None:
    folder = data / "baichuan-fixtures" / which
    stored: dict[str, torch.Tensor] = {}
    for shard in sorted(folder.glob("*.bin")):
        stored |= torch.load(shard, weights_only=True)
    checkpoint = Checkpoint.open(folder)
    found = dict(checkpoint.tensors())
    assert list(found) == checkpoint.names() and len(found) == tensors
    assert {raw.dtype for raw in found.values()} == {dtype}
    for name, raw in found.items():
        if match := re.fullmatch(r"(.*self_attn)\.([qkv])_proj\.weight", name):
            packed = stored[f"{match[1]}.W_pack.weight"]
            assert_equal(raw, packed.chunk(3)["qkv".index(match[2])])
        else:
            assert_equal(raw, stored[name])
    assert checkpoint.tokenizer.size == 1300
    assert checkpoint.generation["user_token_id"] == 195


@pytest.mark.parametrize("how", ["zip", "legacy", "safetensors"])
@pytest.mark.parametrize("shards", [1, 3])
def test_every_container_gives_the_same(
    how: str, shards: int, hf: Any, folder: Make, weights: Weights
) -> None:
    state = weights(hf)
    checkpoint = Checkpoint.open(folder(hf, state, how, shards=shards))
    found = dict(checkpoint.tensors())
    assert {name: raw.shape for name, raw in found.items()} == checkpoint.config.tensor_shapes()
    q, k, v = state[LAYER + "W_pack.weight"].chunk(3)
    o = state[LAYER + "o_proj.weight"]
    for which, tensor in {"q": q, "k": k, "v": v, "o": o}.items():
        assert_equal(found[f"{LAYER}{which}_proj.weight"], tensor)
    assert all(raw.data.ctypes.data % 2 == 0 for raw in found.values())
    assert checkpoint.generation == {} and checkpoint.manifest is None


def test_q_k_v_are_views_of_the_packed_matrix(hf: Any, folder: Make, weights: Weights) -> None:
    checkpoint = Checkpoint.open(folder(hf, weights(hf), "zip"))
    q, k, v = (checkpoint.tensor(f"{LAYER}{name}_proj.weight").data for name in "qkv")
    assert k.ctypes.data == q.ctypes.data + q.nbytes and v.ctypes.data == k.ctypes.data + k.nbytes
    assert not q.flags.writeable


def test_buffers_are_ignored(hf: Any, folder: Make, weights: Weights) -> None:
    state = weights(hf) | {LAYER + "rotary_emb.inv_freq": torch.ones(2)}
    assert not [name for name in Checkpoint.open(folder(hf, state)).names() if "inv_freq" in name]


def test_llama_with_fewer_key_heads(hf: Any, folder: Make, weights: Weights) -> None:
    hf |= {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_key_value_heads": 1}
    state = weights(hf, packed=False)
    found = dict(Checkpoint.open(folder(hf, state, "safetensors")).tensors())
    assert set(found) == set(state)
    for name, raw in found.items():
        assert_equal(raw, state[name])


def test_parameters_and_wrappers(hf: Any, folder: Make, weights: Weights) -> None:
    state = {name: torch.nn.Parameter(tensor) for name, tensor in weights(hf).items()}
    checkpoint = Checkpoint.open(folder(hf, {"state_dict": state, "step": 7}))
    assert_equal(checkpoint.tensor("model.norm.weight"), state["model.norm.weight"].data)


@pytest.mark.parametrize("how", ["zip", "safetensors"])
def test_a_tied_head_has_no_name(how: str, hf: Any, folder: Make, weights: Weights) -> None:
    hf["tie_word_embeddings"] = True
    state = weights(hf)
    if how == "zip":  # torch.save keeps the second name of the same storage
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    assert "lm_head.weight" not in Checkpoint.open(folder(hf, state, how)).names()


def unit_rows(head: torch.Tensor) -> np.ndarray:
    return torch.nn.functional.normalize(head.float(), dim=1).numpy()


def baichuan2(hf: dict[str, Any]) -> dict[str, Any]:
    return hf | {"architectures": ["BaichuanForCausalLM"], "z_loss_weight": 0}


def test_norm_head_is_folded(hf: Any, folder: Make, weights: Weights) -> None:
    state = weights(baichuan2(hf), dtype=torch.bfloat16)
    state["lm_head.weight"][3] = 0
    checkpoint = Checkpoint.open(folder(baichuan2(hf), state))
    head = checkpoint.tensor("lm_head.weight")
    assert checkpoint.config.head == "normed" and head.dtype == "F32"
    np.testing.assert_allclose(head.float32(), unit_rows(state["lm_head.weight"]), rtol=1e-6)
    assert_equal(checkpoint.tensor("model.norm.weight"), state["model.norm.weight"])


def test_norm_head_is_found_in_source_that_is_not_run(hf: Any, folder: Make, weights: Weights) -> None:
    state = weights(hf)
    place = folder(hf, state)
    (place / "modeling_baichuan.py").write_text("class NormHead: ...\nraise SystemExit('this was run')\n")
    checkpoint = Checkpoint.open(place)
    assert checkpoint.config.head == "normed"
    head = checkpoint.tensor("lm_head.weight").float32()
    np.testing.assert_allclose(head, unit_rows(state["lm_head.weight"]), rtol=1e-6)


def test_llamafied_baichuan2_has_a_plain_head(hf: Any, folder: Make, weights: Weights) -> None:
    state = weights(hf, packed=False)
    checkpoint = Checkpoint.open(folder(baichuan2(hf), state))
    assert checkpoint.config.head == "plain"
    assert {name for name, _ in checkpoint.tensors()} == set(state)
    assert_equal(checkpoint.tensor("lm_head.weight"), state["lm_head.weight"])


def test_padding_rows_are_fine_and_licences_are_found(hf: Any, folder: Make, weights: Weights) -> None:
    place = folder(hf, weights(hf))  # 40 rows, 30 pieces
    for name in ("LICENSE", "Community License for Baichuan2 Model.pdf", "模型许可协议.pdf"):
        (place / name).write_bytes(b"...")
    (place / "README.md").write_text("---\nlicense: other\n---\n")
    (place / "notes.md").write_text("nothing of the kind\n")
    found = [path.name for path in Checkpoint.open(place).license_files()]
    assert found[-1] == "README.md" and len(found) == 4


# Faults of a folder: what is done to a good one, and what the message must name.


def edit_config(**changes: Any) -> Callable[[Path], None]:
    def edit(place: Path) -> None:
        hf = json.loads((place / "config.json").read_text())
        (place / "config.json").write_text(json.dumps(hf | changes))

    return edit


def write(name: str, content: str | bytes) -> Callable[[Path], object]:
    data = content if isinstance(content, bytes) else content.encode()
    return lambda place: (place / name).write_bytes(data)


def remove(name: str) -> Callable[[Path], None]:
    return lambda place: (place / name).unlink()


SHARD, INDEX = "pytorch_model-00002-of-00003.bin", "pytorch_model.bin.index.json"


def edit_index(change: Callable[[dict[str, str]], None]) -> Callable[[Path], None]:
    def edit(place: Path) -> None:
        file = place / INDEX
        index = json.loads(file.read_text())
        change(index["weight_map"])
        file.write_text(json.dumps(index))

    return edit


def moved_to(shard: str) -> Callable[[Path], None]:
    return edit_index(lambda weight_map: weight_map.update({"model.norm.weight": shard}))


def lose_index_and_shard(place: Path) -> None:
    remove(INDEX)(place)
    remove(SHARD)(place)


def rename_norm(place: Path) -> None:
    """A tensor under another name in the file and in the index."""
    file = place / "pytorch_model-00003-of-00003.bin"
    state = torch.load(file)
    state["model.final_norm.weight"] = state.pop("model.norm.weight")
    torch.save(state, file)
    edit_index(lambda m: m.update({"model.final_norm.weight": m.pop("model.norm.weight")}))(place)


def repeat_tensor(place: Path) -> None:
    state = torch.load(place / "pytorch_model-00003-of-00003.bin")
    state["model.embed_tokens.weight"] = torch.zeros(40, 8)
    torch.save(state, place / "pytorch_model-00003-of-00003.bin")


def change_norm(value: torch.Tensor) -> Callable[[Path], None]:
    def change(place: Path) -> None:
        file = place / "pytorch_model-00003-of-00003.bin"
        torch.save(torch.load(file) | {"model.norm.weight": value}, file)

    return change


def link_outside(place: Path) -> None:
    (place / SHARD).unlink()
    (place / SHARD).symlink_to(place.parent)


def truncate(place: Path) -> None:
    content = (place / SHARD).read_bytes()
    (place / SHARD).write_bytes(content[: len(content) // 2])


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (remove("config.json"), r"no config\.json"),
    "config is not JSON": (write("config.json", "{'a': 1}"), r"config\.json: not a usable JSON"),
    "config is a list": (write("config.json", "[1, 2]"), r"config\.json: .*list"),
    "config is empty": (write("config.json", ""), r"config\.json"),
    "config without end": (write("config.json", '{"a":' * 100_000), r"config\.json: .*deep"),
    "config with a key twice": (write("config.json", '{"a": 8, "a": 9}'), "'a' occurs twice"),
    "config with an endless number": (write("config.json", '{"a": 1%s}' % ("0" * 9999)), "1000.* too large"),
    "config with NaN": (write("config.json", '{"rms_norm_eps": NaN}'), "NaN"),
    "config with infinity": (write("config.json", '{"rms_norm_eps": 1e999}'), "1e999"),
    "wrong type": (edit_config(hidden_size="8"), "hidden_size"),
    "another family": (edit_config(architectures=["GPT2LMHeadModel"]), "GPT2LMHeadModel"),
    "more layers": (edit_config(num_hidden_layers=3), r"missing model\.layers\.2\.input"),
    "endless layers": (edit_config(num_hidden_layers=1 << 24), "num_hidden_layers = 16777216"),
    "fewer layers": (edit_config(num_hidden_layers=1), r"unknown model\.layers\.1"),
    "other width": (edit_config(intermediate_size=16), r"gate_proj\.weight has shape \[12, 8\].*\[16, 8\]"),
    "other vocabulary": (edit_config(vocab_size=41), r"embed_tokens\.weight has shape \[40, 8\]"),
    "no tokenizer": (remove("tokenizer.model"), r"tokenizer\.model: missing"),
    "broken tokenizer": (write("tokenizer.model", b"\x0a\xffnonsense"), r"tokenizer\.model"),
    "generation_config is a list": (write("generation_config.json", "[]"), r"generation_config.*list"),
    "missing shard": (remove(SHARD), rf"missing shard {SHARD}"),
    "missing shard and no index": (lose_index_and_shard, rf"missing shard {SHARD}"),
    "truncated shard": (truncate, rf"{SHARD}: .*truncated"),
    "empty shard": (write(SHARD, b""), rf"{SHARD}: the file is empty"),
    "a shard that is a folder": (link_outside, rf"{SHARD}: not a regular file"),
    "index names a lost tensor": (edit_index(lambda m: m.update(x=SHARD)), rf"'x' is not in {SHARD}"),
    "index names the wrong shard": (moved_to(SHARD), rf"'model\.norm\.weight' is not in {SHARD}"),
    "index leads up": (moved_to("../pytorch_model.bin"), r"'\.\./pytorch_model\.bin', which is no file"),
    "index is absolute": (moved_to("/etc/passwd"), "'/etc/passwd', which is no file"),
    "index leads up, other slash": (moved_to("..\\a.bin"), "which is no file"),
    "index names no shard": (moved_to(""), "which is no file"),
    "index with a very long name": (moved_to("a" * 5000), "which is no file"),
    "index is empty": (write(INDEX, "{}"), "weight_map is missing"),
    "index to a number": (write(INDEX, '{"weight_map": {"a": 7}}'), "which is no file"),
    "a tensor in two shards": (repeat_tensor, r"'model\.embed_tokens\.weight' is also in .*-00001"),
    "other names": (rename_norm, r"missing model\.norm\.weight, unknown model\.final_norm\.weight"),
    "wrong shape": (change_norm(torch.ones(7)), r"model\.norm\.weight has shape \[7\]"),
    "wrong type of tensor": (change_norm(torch.ones(8).double()), r"model\.norm\.weight of type F64"),
    "integers": (change_norm(torch.ones(8).to(torch.int8)), r"model\.norm\.weight of type I8"),
}  # fmt: skip


@pytest.mark.parametrize("what", FAULTS)
def test_a_fault_is_named_in_one_line(what: str, hf: Any, folder: Make, weights: Weights) -> None:
    place = folder(hf, weights(hf), "zip", shards=3)
    assert Checkpoint.open(place)
    spoil, names = FAULTS[what]
    spoil(place)
    with pytest.raises(ValueError, match=names) as caught:
        Checkpoint.open(place)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 900


def test_a_tokenizer_larger_than_the_embedding(hf: Any, folder: Make, weights: Weights) -> None:
    hf["vocab_size"] = 29
    with pytest.raises(ValueError, match=r"30 pieces.*29 rows"):
        Checkpoint.open(folder(hf, weights(hf)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_nan_is_named_when_the_tensor_is_read(
    dtype: torch.dtype, hf: Any, folder: Make, weights: Weights
) -> None:
    state = weights(hf, dtype=dtype)
    state[LAYER + "W_pack.weight"][9, 3] = torch.nan
    checkpoint = Checkpoint.open(folder(hf, state))
    assert checkpoint.tensor(LAYER + "q_proj.weight").finite()
    with pytest.raises(ValueError, match=r"layers\.0\.self_attn\.k_proj\.weight holds NaN"):
        checkpoint.tensor(LAYER + "k_proj.weight")


def test_no_lm_head_and_not_tied(hf: Any, folder: Make, weights: Weights) -> None:
    state = weights(hf)
    del state["lm_head.weight"]
    with pytest.raises(ValueError, match=r"missing lm_head\.weight.*tie_word_embeddings"):
        Checkpoint.open(folder(hf, state))


def test_what_is_not_a_model_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("hello")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="this is a file"):
        Checkpoint.open(tmp_path / "file")
    with pytest.raises(ValueError, match="folder is empty"):
        Checkpoint.open(str(tmp_path / "empty"))
    with pytest.raises(ValueError, match="no such folder"):
        Checkpoint.open(tmp_path / "nowhere")


def test_no_weights_at_all(hf: Any, folder: Make, weights: Weights) -> None:
    place = folder(hf, weights(hf))
    (place / "pytorch_model.bin").rename(place / "training_args.bin")
    with pytest.raises(ValueError, match="no weights"):
        Checkpoint.open(place)


def test_a_linked_file_is_fine_and_safetensors_come_first(hf: Any, folder: Make, weights: Weights) -> None:
    place = folder(hf, weights(hf), "safetensors")
    blob = place.parent / "blob"
    os.rename(place / "model.safetensors", blob)
    (place / "model.safetensors").symlink_to(blob)
    (place / "pytorch_model.bin").write_bytes(b"never looked at")
    assert len(list(Checkpoint.open(place).tensors())) == len(Checkpoint.open(place).names())


def test_a_fault_is_told_in_chinese(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HAINA_LANG", "zh")
    with pytest.raises(ValueError, match="目录是空的"):
        Checkpoint.open(tmp_path)
