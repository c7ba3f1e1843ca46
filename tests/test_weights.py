"""haina-brook, as it is shipped: small, with a card, able to greet and to go on with a verse."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import haina
from haina.checkpoint.checkpoint import Checkpoint
from haina.engine.engine import Engine
from haina.engine.request import Request
from haina.engine.sampling import Sampling
from haina.text.messages import Message, assemble, template_for

WEIGHTS = Path(haina.__file__).parent / "weights"
Ask = Callable[[str, int], str]


@pytest.fixture(scope="module")
def ask() -> Ask:
    """The answer to a question under the settings that are shipped, by seed."""
    checkpoint = Checkpoint.open(WEIGHTS)
    template = template_for(checkpoint.config.architecture, checkpoint.generation)
    engine = Engine.open(checkpoint)
    assert template is not None

    def answer(question: str, seed: int) -> str:
        ids = assemble([Message("user", question)], checkpoint.tokenizer, template, room_tokens=256).ids
        sampling = replace(Sampling.from_generation(checkpoint.generation), seed=seed)
        banned = checkpoint.tokenizer.control_ids - template.stop_ids
        request = Request(ids, 128, sampling, template.stop_ids, banned)
        return checkpoint.tokenizer.decode([token.id for token in engine.generate([request])])

    return answer


def test_it_is_small_and_has_a_card() -> None:
    assert sum(file.stat().st_size for file in WEIGHTS.iterdir()) < 15e6
    card = (WEIGHTS / "CARD.md").read_text("utf-8")
    assert "haina train brook" in card and (WEIGHTS / "loss.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("question", "sign"), [("你好", "你好|海纳"), ("Hello", "Hello|Hi|haina"), ("你是谁？", "海纳|模型")]
)
def test_it_greets(ask: Ask, question: str, sign: str) -> None:
    answers = [ask(question, seed) for seed in range(5)]
    assert all(re.search(sign, answer) for answer in answers), answers


@pytest.mark.parametrize(("line", "form"), [("白日依山尽，", 5), ("月落乌啼霜满天，", 7)])
def test_it_goes_on_with_a_verse_in_its_form(ask: Ask, line: str, form: int) -> None:
    answers = [ask(line, seed) for seed in range(5)]
    in_form = [re.fullmatch(rf"([\u4e00-\u9fff]{{{form}}}[，。？！]\n?)+", answer) for answer in answers]
    assert sum(map(bool, in_form)) >= 4, answers
