"""`haina fit`: sizes from shapes alone, exact where a folder shows them; a table and a record."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from haina.apps.fit import assess, candidate, table
from haina.apps.model import need
from haina.checkpoint.checkpoint import Checkpoint
from haina.checkpoint.convert import convert
from haina.checkpoint.web import Web
from haina.model.config import SIZES

Speaker = Callable[..., Path]
NOWHERE = Web(tries=1, timeout_s=0.1)


def fit(model: object, context: int | None = None) -> dict:
    return assess(candidate(str(model), source="huggingface", web=NOWHERE), context=context)


def test_a_published_shape() -> None:
    """13B: 26.5 GB as published; w4 in 8.0 GB at 512 tokens, in 9.4 GB with a full context of int8."""
    record = fit("13b")
    assert record["model"] == "baichuan-13b" and record["context_tokens"] == 4096
    rows = record["precisions"]
    assert rows["bf16"]["disk_bytes"] == pytest.approx(2 * SIZES["baichuan-13b"].parameters, rel=1e-3)
    assert rows["w8"]["disk_bytes"] == pytest.approx(13.4e9, rel=0.01)
    assert rows["w4"]["disk_bytes"] == pytest.approx(7.5e9, rel=0.01)
    assert rows["w4"]["caches"]["8"]["memory_bytes"] <= 9.4e9
    assert fit("13B", 512)["precisions"]["w4"]["caches"]["16"]["memory_bytes"] <= 8.4e9
    assert fit("baichuan2-7b")["parameters"] == SIZES["baichuan2-7b"].parameters


def test_speed_is_bandwidth_over_bytes() -> None:
    record = fit("7b", 4096)
    for row, read in (
        (record["precisions"]["bf16"], 2 * 6.74e9),
        (record["precisions"]["w8"], 1.008 * 6.74e9),
    ):
        expected = record["bandwidth_bytes_per_s"] / (read + 524_288 * 2048)
        assert row["caches"]["16"]["tokens_per_s"] == pytest.approx(expected, rel=0.01)
    assert 1e8 < record["bandwidth_bytes_per_s"] < 1e13


def test_a_folder_and_what_it_is_converted_to(speaker: Speaker, tmp_path: Path) -> None:
    """The sizes are those of the tensors in the files."""
    folder = speaker("你好")
    record = fit(folder, 64)
    assert list(record["precisions"]) == ["bf16", "w8", "w4"]
    for to in ("w8", "w4", "bf16"):
        convert(Checkpoint.open(folder), tmp_path / to, to=to)
        data = Checkpoint.open(tmp_path / to)
        stored = sum(data.tensor(name).nbytes for name in data.names())
        assert record["precisions"][to]["disk_bytes"] == pytest.approx(stored, rel=5e-3)
    packed = fit(tmp_path / "w4", 64)
    assert list(packed["precisions"]) == ["w4"] and packed["command"] == ""
    assert packed["precisions"]["w4"] == {
        **record["precisions"]["w4"], "caches": packed["precisions"]["w4"]["caches"]
    }  # fmt: skip


def test_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    record = json.loads(json.dumps(fit("13b")))
    record["available_bytes"] = 12 << 30
    for row in record["precisions"].values():
        for cache in row["caches"].values():
            cache["fits"] = cache["memory_bytes"] <= 12 << 30
    english = table(record)
    assert "13.3 B parameters" in english and "GB/s (measured now)" in english and "Fits as w4." in english
    assert "other programs at work lower it" in english
    rows = {line.split()[0]: line for line in english.splitlines()[3:7]}
    assert rows["bf16"].count("✗") == 2 and rows["w4"].count("✓") == 2 and "–" in rows["w8"]
    assert len({len(line) for line in rows.values()}) == 1
    monkeypatch.setenv("HAINA_LANG", "zh")
    assert "133 亿" in table(record) and "w4 放得下" in table(record)
    for row in record["precisions"].values():
        row["caches"]["16"]["fits"] = False
    assert "放不下" in table(record)


@pytest.mark.parametrize(
    ("model", "context", "reason"),
    [
        ("14b", None, "14b: no such folder or model; give a folder, a .gguf file, a name on the hub"),
        ("13b", 4097, "--context 4097: the context of baichuan-13b ends at 4096 tokens"),
        ("../none", None, "no such folder or model"),
    ],
)
def test_what_is_wrong_is_one_line(model: str, context: int | None, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as refused:
        fit(model, context)
    assert "\n" not in str(refused.value)


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the folder is empty; give a Hugging Face folder"):
        fit(tmp_path)


def test_what_is_float32_is_to_be_converted_first(speaker: Speaker) -> None:
    """As it is, chat would need twice the memory."""
    folder = speaker("你好")
    record = fit(folder, 64)
    assert table(record).splitlines()[-1] == f"Fits as bf16: haina convert {folder} --to bf16"
    assert (
        record["precisions"]["bf16"]["caches"]["16"]["memory_bytes"]
        < need(Checkpoint.open(folder), 16, 64).total
    )


@pytest.mark.parametrize("to", ["bf16", "w8", "w4"])
def test_what_is_ready_needs_what_chat_needs(to: Any, speaker: Speaker, tmp_path: Path) -> None:
    convert(Checkpoint.open(speaker("你好")), tmp_path / "to", to=to)
    record, held = fit(tmp_path / "to", 64), need(Checkpoint.open(tmp_path / "to"), 16, 64).total
    assert table(record).splitlines()[-1] == f"Fits as {to}." and record["as_it_is"] == to
    assert record["precisions"][to]["caches"]["16"]["memory_bytes"] == held


def test_nothing_is_read_but_headers(speaker: Speaker) -> None:
    """Changed weights are for chat to refuse, which reads them all."""
    folder = speaker("你好")
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match="changed since it was written"):
        Checkpoint.open(folder)
    assert fit(folder)["as_it_is"] == ""
