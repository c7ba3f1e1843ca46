"""Learning answers: a small network learns them by heart, packed or not; what cannot be learnt from is named first."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from haina.checkpoint.adapter import Adapter
from haina.checkpoint.checkpoint import Checkpoint
from haina.data.pack import Batch
from haina.options.tuning import DpoOptions, GrpoOptions, SftOptions
from haina.text.messages import Message
from haina.train.base import Base
from haina.train.loop import beside
from haina.train.objectives import next_token
from haina.train.rollout import answers
from haina.train.sft import fitted, prepare
from haina.train.tune import Tuning, run

Lines = Callable[..., Path]
TARGETS = ("W_pack", "o_proj", "gate_proj", "up_proj", "down_proj")


def options(folder: Path, **changes: Any) -> SftOptions:
    given = {"epochs": 40, "batch": 96, "lr": 1e-2, "valid": 0, "valid_every": 999, "save_every": 20}
    given |= {"precision": "fp32"}
    return SftOptions(out=str(folder), **given | changes)


def job(model: Path, data: Path, folder: Path, **changes: Any) -> Tuning:
    return prepare(model, data, options(folder, **changes))


def rows(talks: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"instruction": asked, "output": said} for asked, said in talks]


def test_it_learns_by_heart_and_the_result_answers(
    little: Path, talks: list[tuple[str, str]], lines: Lines, tmp_path: Path
) -> None:
    model = run(job(little, lines(*rows(talks)), tmp_path))
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert model == tmp_path / "model" and log[-1]["nats"] < 0.1
    base = Base.open(model, "cpu")
    prompts = [base.prompt_ids((Message("user", asked),)) for asked, _ in talks]
    found = answers(base.decoder(), prompts, most_tokens=24, stop_ids={base.template.eos_id})
    assert [base.tokenizer.decode(ids[:-1]) for ids in found] == [said for _, said in talks]
    assert all(ids[-1] == base.template.eos_id for ids in found)
    assert base.checkpoint.generation["user_token_id"] == base.template.user_id
    assert base.checkpoint.manifest is not None and base.checkpoint.manifest.source["licence"] == "CC0"
    assert "hello there" in (tmp_path / "samples" / f"{len(log):08}.md").read_text("utf-8")


def test_packed_rows_have_the_loss_and_the_gradient_of_single_ones(
    little: Path, talks: list[tuple[str, str]], lines: Lines, tmp_path: Path
) -> None:
    """Attention stays inside a dialogue, and a token counts the same wherever it lies."""
    task = job(little, lines(*rows(talks)), tmp_path, length=48).task
    decoder, packed = task.decoder, task.shown.at(range(task.shown.rows_of_epoch(0)))
    assert len(packed.ids_BT) < len(talks)
    with torch.no_grad():  # as made, its blocks are the identity: then nothing would be tested
        for name, weight in decoder.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                weight.normal_(0, 0.1, generator=torch.Generator().manual_seed(1))

    def gradient(batch: Batch) -> tuple[float, torch.Tensor]:
        decoder.zero_grad()
        nats, loss = next_token(decoder, beside(decoder, batch), z="off")
        loss.backward()
        return nats.item(), decoder.model.layers[0].self_attn.k_proj.weight.grad.clone()

    def alone(row: int, document: int) -> tuple[np.ndarray, ...]:
        inside = packed.documents_BT[row] == document
        pad = packed.ids_BT.shape[1] - inside.sum()
        columns = (packed.ids_BT, packed.targets_BT, packed.documents_BT * 0, packed.positions_BT)
        return tuple(
            np.pad(column[row][inside], (0, pad), constant_values=fill)
            for column, fill in zip(columns, (0, -100, 1, 0), strict=True)
        )

    singles = [alone(r, d) for r in range(len(packed.ids_BT)) for d in np.unique(packed.documents_BT[r])]
    whole, apart = gradient(packed), gradient(Batch(*(np.stack(c) for c in zip(*singles, strict=True))))
    assert whole[0] == pytest.approx(apart[0], rel=1e-5)
    assert torch.allclose(whole[1], apart[1], atol=1e-6) and whole[1].abs().max() > 1e-4


def test_a_run_that_was_stopped_ends_with_the_same_bits(
    little: Path, talks: list[tuple[str, str]], lines: Lines, tmp_path: Path
) -> None:
    data = lines(*rows(talks))
    for name, stops in (("whole", (None,)), ("stopped", (3, None))):
        for stop in stops:
            run(job(little, data, tmp_path / name, epochs=4, valid=0.2, stop_after=stop))
    whole, stopped = (tmp_path / n / "model" / "model.safetensors" for n in ("whole", "stopped"))
    assert whole.read_bytes() == stopped.read_bytes()
    for change, words in (
        ({"lr": 1e-3}, "matrix_lr = 0.01, not 0.001"),
        ({"z_loss": "max"}, "z_loss = off, not max"),
        ({"lora": True}, "lora = None, not"),
    ):
        with pytest.raises(ValueError, match=words):
            run(job(little, data, tmp_path / "whole", epochs=4, valid=0.2, **change))
    with pytest.raises(ValueError, match=r"model = .*, not .*choose another folder"):
        run(job(whole.parent, data, tmp_path / "whole", epochs=4, valid=0.2))


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"messages": [{"role": "user", "content": "hello"}]}, "it does not end with assistant"),
        ({"messages": [{"content": "hello"}]}, "message 1 has no role"),
        ({"instruction": "hello", "output": " "}, r"message 2 \(assistant\) is empty"),
        ({"instruction": "hello", "output": "hello", "tools": []}, "unknown key 'tools'"),
    ],
)
def test_a_bad_row_is_named_before_anything_is_trained(
    bad: dict[str, Any], words: str, little: Path, lines: Lines, talks: list[tuple[str, str]], tmp_path: Path
) -> None:
    data = lines(*rows(talks[:4]), bad)
    with pytest.raises(
        ValueError, match=rf"1 of 5 rows cannot be used: {words}.* \(row 5\).*--skip-bad"
    ) as refused:
        job(little, data, tmp_path / "run")
    assert "\n" not in str(refused.value) and not (tmp_path / "run").exists()
    made = job(little, data, tmp_path / "run", skip_bad=True)
    assert any("left out: 1 rows" in line for line in made.told)
    assert any("data: 4 dialogues" in line for line in made.told)


def test_what_is_too_long_is_cut_before_the_turn_that_does_not_fit(
    little: Path, lines: Lines, tmp_path: Path
) -> None:
    base = Base.open(little, "cpu")
    talk = tuple(Message(("user", "assistant")[n % 2], "hello there") for n in range(8))
    size = len(base.prompt_ids(talk[:1])) + len(base.answer_ids("hello there"))  # one round with its end
    rounds = size - 1
    assert fitted(talk, base, size) == talk[:2] and fitted(talk, base, size - 1) == ()
    assert fitted(talk, base, 4 * rounds + 1) == talk and fitted(talk, base, 4 * rounds) == talk[:6]
    row = {"messages": [{"role": m.role, "content": m.content} for m in talk]}
    long = {"instruction": "hello " * 40, "output": "hello"}
    made = job(little, lines(row, row, long), tmp_path / "run", length=2 * rounds + 1)
    assert "data: 2 dialogues, 2 of them cut to fit, 1 more are too long" in made.told[1]
    with pytest.raises(ValueError, match="no dialogue fits into 16 tokens; raise --length"):
        job(little, lines(long), tmp_path / "other", length=16)
    with pytest.raises(ValueError, match="reads 48 tokens at most; lower --length"):
        job(little, lines(row), tmp_path / "other", length=49)


def test_a_model_that_cannot_be_taught_is_refused(little: Path, lines: Lines, tmp_path: Path) -> None:
    data = lines({"instruction": "hello", "output": "hello"})
    with pytest.raises(ValueError, match="no such folder"):
        job(tmp_path / "none", data, tmp_path / "run")
    other = tmp_path / "other"
    shutil.copytree(little, other)
    (other / "manifest.json").unlink()
    (other / "generation_config.json").write_text('{"user_token_id": 5, "assistant_token_id": 6000}')
    with pytest.raises(ValueError, match="no chat format"):
        job(other, data, tmp_path / "run")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"vocab_size": 100}))
    with pytest.raises(ValueError, match=r"vocab_size|shape|rows"):
        job(other, data, tmp_path / "run")
    with pytest.raises(ValueError, match=r"takes .* of memory, 1.0 kB are available; try --qlora"):
        prepare(little, data, options(tmp_path / "run"), available=lambda device: 1000)


@pytest.mark.parametrize("verb", ["sft", "dpo", "grpo"])
def test_several_processes_are_refused_before_anything(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    asked = {"sft": SftOptions, "dpo": DpoOptions, "grpo": GrpoOptions}[verb]()
    with pytest.raises(ValueError, match="one process, 2 were started; call it without torchrun"):
        import_module(f"haina.train.{verb}").prepare(tmp_path / "none", tmp_path / "none", asked)


def adapter(kind: str, model: Path, data: Path, folder: Path, **changes: Any) -> list[float]:
    """The losses of a run that trains an adapter."""
    given = {"epochs": 8, "lr": 2e-2, "batch": 144, "targets": ",".join(TARGETS), kind: True}
    run(job(model, data, folder, **given | changes))
    return [json.loads(line)["nats"] for line in (folder / "log.jsonl").read_text().splitlines()]


def test_an_adapter_is_trained_alone_and_resumes(
    little: Path, talks: list[tuple[str, str]], lines: Lines, tmp_path: Path
) -> None:
    data = lines(*rows(talks))
    whole = adapter("lora", little, data, tmp_path / "whole")
    adapter("lora", little, data, tmp_path / "stopped", stop_after=2)
    assert adapter("lora", little, data, tmp_path / "stopped") == whole and whole[-1] < whole[0] - 0.2
    files = [tmp_path / name / "adapter" / "adapter_model.safetensors" for name in ("whole", "stopped")]
    assert files[0].read_bytes() == files[1].read_bytes()
    base = Base.open(little, "cpu")
    made = Adapter.read(tmp_path / "whole" / "adapter")
    assert made.generation["user_token_id"] == base.template.user_id and not made.doubts(base.checkpoint)
    newest = max((tmp_path / "whole" / "states").iterdir())
    assert (newest / "state.safetensors").stat().st_size < 4 * Base.open(little, "cpu").config.parameters


def test_an_adapter_is_trained_on_packed_weights(
    little: Path, talks: list[tuple[str, str]], lines: Lines, tmp_path: Path
) -> None:
    nats = adapter("qlora", little, lines(*rows(talks)), tmp_path)
    assert nats[-1] < nats[0] - 0.2 and (tmp_path / "adapter" / "adapter_config.json").exists()


def test_the_result_opens_as_a_checkpoint_of_the_same_network(
    little: Path, lines: Lines, tmp_path: Path
) -> None:
    model = run(job(little, lines({"instruction": "hello", "output": "hello"}), tmp_path, epochs=1))
    assert model is not None and Checkpoint.open(model).config == Checkpoint.open(little).config
