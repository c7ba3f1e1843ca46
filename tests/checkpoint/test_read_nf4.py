"""Baichuan2's 4bits folders and their successors: decoded as bitsandbytes does it, refused when parts do not fit.

The formula and both layouts were compared with bitsandbytes 0.50.2 once (equal to the last bit); the folders here
are made by the tests in the layout of bitsandbytes before 0.41.2, which no longer installs.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from haina.checkpoint.checkpoint import Checkpoint
from haina.checkpoint.convert import convert
from haina.checkpoint.raw import Stored
from haina.checkpoint.read_nf4 import join_lists
from haina.checkpoint.read_pickle import read_pickle

HF = {
    "architectures": ["BaichuanForCausalLM"],
    "vocab_size": 40,
    "hidden_size": 40,
    "intermediate_size": 52,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "model_max_length": 32,
    "rms_norm_eps": 1e-6,
    "z_loss_weight": 0,
    "tie_word_embeddings": False,
    "quantization_config": {
        "load_in_4bit": True,
        "load_in_8bit": False,
        "bnb_4bit_compute_dtype": "bfloat16",
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": True,
        "llm_int8_enable_fp32_cpu_offload": False,
        "llm_int8_has_fp16_weight": False,
        "llm_int8_skip_modules": None,
        "llm_int8_threshold": 6.0,
    },
}
NAME = "model.layers.1.self_attn.W_pack.weight"
Make = Callable[..., Path]


@pytest.mark.parametrize(
    "how, flat", [("zip", False), ("legacy", False), ("zip", True), ("safetensors", True)]
)
def test_a_folder_gives_its_values(how: str, flat: bool, folder: Make, weights: Any, in_nf4: Any) -> None:
    state, values = in_nf4(weights(HF), flat=flat)
    checkpoint = Checkpoint.open(folder(HF, state, how, shards=2 if flat else 1))
    assert checkpoint.config.head == "normed"
    for name, expected in values.items():
        parts = {name: expected}
        if "W_pack" in name:
            names = (name.replace("W_pack", f"{which}_proj") for which in "qkv")
            parts = dict(zip(names, np.split(expected, 3), strict=True))
        for part, theirs in parts.items():
            assert (checkpoint.dtype(part), checkpoint.coding(part)) == ("F32", "NF4")
            assert np.array_equal(checkpoint.tensor(part).float32(), theirs), part
            for start, stop in ((0, 1), (7, 24), (39, 40)):
                assert np.array_equal(checkpoint.rows(part, start, stop).float32(), theirs[start:stop]), part
    assert checkpoint.dtype("model.norm.weight") == "F16"


def test_a_folder_converts(folder: Make, weights: Any, in_nf4: Any, tmp_path: Path) -> None:
    source = Checkpoint.open(folder(HF, in_nf4(weights(HF))[0]))
    convert(source, tmp_path / "converted", to="w4")
    converted = Checkpoint.open(tmp_path / "converted")
    for name, raw in converted.tensors():
        assert np.array_equal(raw.data, source.tensor(name, bits=4).data), name


@pytest.mark.parametrize(
    "change, message",
    [
        ({"bnb_4bit_quant_type": "fp4"}, "bnb_4bit_quant_type = 'fp4' cannot be run"),
        ({"load_in_4bit": False}, "quantization_config = "),
        ({"load_in_8bit": True}, "load_in_8bit = True is not known to haina"),
        ({"quant_method": "gptq"}, "quant_method = 'gptq' cannot be run"),
    ],
)
def test_other_quantisations_are_refused(
    change: dict[str, Any], message: str, folder: Make, weights: Any, in_nf4: Any
) -> None:
    hf = HF | {"quantization_config": HF["quantization_config"] | change}  # type: ignore[operator]
    with pytest.raises(ValueError, match=message):
        Checkpoint.open(folder(hf, in_nf4(weights(HF))[0]))


def changed(at: int, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda state: state[f"{NAME}.quant_state"].__setitem__(at, value)


WRONG: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "no nibbles": (lambda state: state.pop(f"{NAME}.data"), "needs 2400 U8 as data, not nothing"),
    "too few nibbles": (
        lambda state: state.update({f"{NAME}.data": torch.zeros(2399, 1, dtype=torch.uint8)}),
        r"needs 2400 U8 as data, not U8 \[2399, 1\]",
    ),
    "nibbles of another type": (
        lambda state: state.update({f"{NAME}.data": torch.zeros(2400, 1)}),
        r"needs 2400 U8 as data, not F32 \[2400, 1\]",
    ),
    "twice": (lambda state: state.update({NAME: torch.zeros(120, 40)}), "is there twice"),
    "no list": (lambda state: state.update({f"{NAME}.quant_state": 1}), "quant_state is not a list that is known"),
    "a short list": (lambda state: state[f"{NAME}.quant_state"].pop(), "quant_state is not a list that is known"),
    "fp4": (changed(5, "fp4"), "is of type 'fp4', not nf4"),
    "another code": (changed(6, torch.linspace(-1, 1, 16)), "has another code table than NF4's"),
    "a short code": (changed(6, torch.linspace(-1, 1, 15)), "needs 16 F32 as quant_map"),
    "a code of NaN": (changed(6, torch.full((16,), torch.nan)), "has another code table than NF4's"),
    "blocks": (changed(3, 63), "has blocks of 63"),
    "a shape": (changed(1, torch.Size([120, 41])), "needs 2460 U8 as data"),
    "a cube": (changed(1, torch.Size([2, 60, 40])), "has no shape of two numbers"),
    "an empty shape": (changed(1, torch.Size([0, 40])), "has no shape of two numbers"),
    "a negative shape": (changed(1, torch.Size([-120, -40])), "has no shape of two numbers"),
    "scales of another type": (changed(0, torch.zeros(75)), "needs 75 U8 as absmax"),
    "no nesting": (changed(4, None), "needs 75 F32 as absmax"),
    "other nesting": (changed(4, [1.0, 2]), "has nested scales of an unknown kind"),
    "a nested list too deep": (changed(4, [[[[torch.zeros(1)]]], []]), "has nested scales of an unknown kind"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_parts_that_do_not_fit(
    what: str, folder: Make, weights: Any, in_nf4: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    change, message = WRONG[what]
    state, _ = in_nf4(weights(HF))
    change(state)
    place = folder(HF, state)
    with pytest.raises(ValueError, match=message) as caught:
        Checkpoint.open(place)
    assert NAME in str(caught.value) and str(place) in str(caught.value) and "\n" not in str(caught.value)
    monkeypatch.setenv("HAINA_LANG", "zh")
    with pytest.raises(ValueError, match=r"[一-鿿]"):
        Checkpoint.open(place)


@pytest.mark.parametrize(
    "key, value",
    [
        ("shape", [40, "x"]),
        ("blocksize", 0),
        ("blocksize", 64.0),
        ("nested_blocksize", 256.0),
        ("nested_offset", "1"),
        ("quant_type", 4),
    ],
)
def test_a_wrong_json(key: str, value: Any, folder: Make, weights: Any, in_nf4: Any) -> None:
    state, _ = in_nf4(weights(HF), flat=True)
    name = f"{NAME}.quant_state.bitsandbytes__nf4"
    about = json.loads(bytes(state[name].tolist())) | {key: value}
    state[name] = torch.tensor(list(json.dumps(about).encode()), dtype=torch.uint8)
    with pytest.raises(ValueError, match=f"4-bit tensor '{re.escape(NAME)}'"):
        Checkpoint.open(folder(HF, state, "safetensors"))


def test_a_scale_that_is_no_number(folder: Make, weights: Any, in_nf4: Any) -> None:
    state, _ = in_nf4(weights(HF))
    state[f"{NAME}.quant_state"][4][0].fill_(torch.inf)
    checkpoint = Checkpoint.open(folder(HF, state))
    with pytest.raises(
        ValueError, match=r"tensor model.layers.1.self_attn.k_proj.weight holds NaN or infinity"
    ):
        checkpoint.tensor("model.layers.1.self_attn.k_proj.weight")


def test_a_list_that_holds_itself(tmp_path: Path) -> None:
    """What a pickle can say and nothing may follow to its end."""
    state: list[Any] = []
    state += [state] * 7
    with pytest.raises(ValueError, match="quant_state is not a list that is known"):
        join_lists(tmp_path, {}, {"a.quant_state": [1, state]})
    torch.save({"a": torch.zeros(2), "a.quant_state": state}, tmp_path / "loop.bin")
    with pytest.raises(ValueError, match="4-bit tensor 'a'"):
        read_pickle(tmp_path / "loop.bin")


def test_plain_tensors_stay_as_they_are(tmp_path: Path) -> None:
    tensors = {"a": Stored("F32", (2,), np.zeros(8, np.uint8))}
    assert join_lists(tmp_path, tensors, {}) == tensors
