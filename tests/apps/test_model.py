"""Opening a model: what it needs is counted before it is loaded, and how far it is can be followed."""

from collections.abc import Callable
from pathlib import Path

import pytest

from haina.apps import model as opening
from haina.apps.model import context_tokens, need, open_model
from haina.apps.show import describe, table
from haina.checkpoint.checkpoint import Checkpoint
from haina.engine.memory import available_bytes, cache_bytes, token_bytes, weight_bytes, work_bytes
from haina.engine.request import Request
from haina.engine.sampling import Sampling
from haina.model.config import SIZES
from haina.options.models import ModelOptions

Speaker = Callable[..., Path]


def test_memory_of_the_published_models() -> None:
    """7B: 2 bytes a parameter; at 8 bits half of that; 13B at 4 bits 7.5 GB. Cache of 13B: 3.36 GB."""
    small, large = SIZES["baichuan-7b"], SIZES["baichuan-13b"]
    assert weight_bytes(small, item_bytes=2, bits=16) == pytest.approx(2 * small.parameters, rel=1e-3)
    assert weight_bytes(small, item_bytes=2, bits=8) == pytest.approx(small.parameters, rel=1e-2)
    assert weight_bytes(large, item_bytes=2, bits=4) == pytest.approx(7.5e9, rel=2e-2)
    assert cache_bytes(large, tokens=4096) == 4096 * 819_200
    assert cache_bytes(large, tokens=4096, dtype="I8") == 4096 * 819_200 * (128 + 4) // 256
    assert work_bytes(large, tokens=4096) < 400 << 20
    embedding = 2 * large.vocab_size * large.hidden_size  # one row of it is read, all of the head
    read = token_bytes(large, item_bytes=2, bits=16)
    assert read == weight_bytes(large, item_bytes=2, bits=16) - embedding
    normed = SIZES["baichuan2-7b"]
    folded = 2 * normed.vocab_size * normed.hidden_size  # the head is float32, not bfloat16
    assert weight_bytes(normed, item_bytes=2, bits=16) == pytest.approx(
        2 * normed.parameters + folded, rel=1e-3
    )
    assert weight_bytes(normed, item_bytes=2, bits=8) == pytest.approx(normed.parameters, rel=1e-2)


def test_this_machine_says_what_is_free() -> None:
    free = available_bytes()
    assert free is None or 1 << 20 < free < 1 << 50


def test_what_does_not_fit_is_refused_unless_forced(
    speaker: Speaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = speaker("你好")
    monkeypatch.setattr(opening, "available_bytes", lambda: 1 << 20)
    with pytest.raises(
        ValueError,
        match=r"needs about \d+\.\d MiB of memory \(weights .* mapped from their file; context of 256 tokens .*\), "
        r"1\.0 MiB are free; bring the weights to 0\.1 MiB with haina convert .*speaker --to w4, or use --cache 8, "
        r"or lower --context, or close other programs; --force loads it all the same",
    ):
        open_model(folder, ModelOptions())
    assert open_model(folder, ModelOptions(force=True)).context == 256


def test_an_int8_context_takes_half_the_memory(speaker: Speaker) -> None:
    folder = speaker("你好")
    model = open_model(folder, ModelOptions(cache=8))
    assert model.engine.pages.count * model.engine.pages.page_tokens == model.context == 256
    full, halved = (need(model.checkpoint, 16, 4096, cache=dtype).cache for dtype in ("F16", "I8"))
    assert full / 2 < halved < 0.7 * full


def test_the_context_is_the_models_or_less(speaker: Speaker) -> None:
    checkpoint = Checkpoint.open(speaker("你好", context=131_072))
    assert context_tokens(checkpoint, None) == 4096
    assert context_tokens(checkpoint, 131_072) == 131_072
    with pytest.raises(ValueError, match="ends at 131072 tokens"):
        context_tokens(checkpoint, 131_073)
    assert need(checkpoint, 16, 131_072).total > need(checkpoint, 16, 4096).total


def test_progress_is_reported(speaker: Speaker) -> None:
    seen: list[tuple[str, int, int]] = []
    model = open_model(speaker("你好"), ModelOptions(), progress=lambda *args: seen.append(args))
    assert list(dict.fromkeys(what for what, _, _ in seen)) == ["checking files", "loading weights"]
    assert all(0 <= done <= total for _, done, total in seen)
    assert model.name == "speaker"


def test_a_record_and_a_table(speaker: Speaker, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = Checkpoint.open(speaker("你好"))
    record = describe(checkpoint, context=64)
    assert record["parameters"] == checkpoint.config.parameters
    assert record["memory"]["context_tokens"] == 64
    assert record["precision"] == "F32" and record["chat"]["user_id"] == 195
    assert record["source"]["licence"] == "none needed"
    english = table(record)
    assert "free here" in english and "RoPE" in english and "role tokens: user 195, assistant 196" in english
    monkeypatch.setenv("HAINA_LANG", "zh")
    chinese = table(record).splitlines()
    assert chinese[0].split() == ["模型", "speaker"] and len(chinese) == len(english.splitlines())


def test_published_folders_are_described(data: Path) -> None:
    shown = table(describe(Checkpoint.open(data / "baichuan-fixtures" / "13b-style")))
    assert "ALiBi" in shown and "BF16" in shown and "192 tokens" in shown


def test_a_draft_model_changes_nothing_but_the_speed(
    speaker: Speaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = speaker("春眠不觉晓", loop=True)
    request = Request((195, 196), 60, Sampling(temperature=0.1, seed=1), stop_loops=False)
    plain = open_model(folder, ModelOptions(no_speculation=True))
    drafted = open_model(folder, ModelOptions(draft=str(folder)))
    assert plain.engine.drafters is None and open_model(folder, ModelOptions()).engine.drafters
    assert list(drafted.engine.generate([request])) == list(plain.engine.generate([request]))
    assert drafted.engine.counts.drafted > 0
    monkeypatch.setattr(opening, "available_bytes", lambda: 1 << 20)
    with pytest.raises(ValueError, match=r"; draft model \d+\.\d MiB\).*leave out --draft"):
        open_model(folder, ModelOptions(draft=str(folder)))
