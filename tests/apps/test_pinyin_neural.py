"""The network's opinion: what texts share is read once and changes nothing; who was not asked keeps their place."""

import pytest

from haina.apps.pinyin.decoder import Candidate
from haina.apps.pinyin.neural import ASKED, Network, question, weighed
from haina.cli.app import EMBEDDED

TEXTS = ["我们去北京", "我们去背景"]


@pytest.fixture(scope="module")
def network() -> Network:
    return Network.open(EMBEDDED, threads=1)


def test_what_all_texts_begin_with_is_read_once(network: Network) -> None:
    shared = question(network.tokenizer, "明天", TEXTS)
    apart = question(network.tokenizer, "明天", [*TEXTS, "他"])
    assert shared.prompt[: len(apart.prompt)] == apart.prompt and len(shared.prompt) > len(apart.prompt)
    first, second = network.engine.score(shared.prompt, shared.answers)
    whole = network.engine.score(apart.prompt, apart.answers)
    assert first - second == pytest.approx(whole[0] - whole[1], abs=0.02)


def test_a_text_that_begins_another_leaves_both_something_to_say(network: Network) -> None:
    assert all(question(network.tokenizer, "", ["北京", "北京市"]).answers)


def test_those_not_asked_come_behind() -> None:
    candidates = [Candidate(str(i), -float(i), 1) for i in range(ASKED + 2)]
    nats = [-100.0, *[-1.0] * (ASKED - 1)]
    ranked = weighed(candidates, nats)
    assert [c.text for c in ranked[-2:]] == [str(ASKED), str(ASKED + 1)]
    assert ranked[0].text == "1"
    assert weighed(candidates, ()) == candidates
