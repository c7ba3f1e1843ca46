"""The evaluation: exact bits and bytes, honest intervals, judges of answers, and the verbs with the embedded model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import haina
from haina.checkpoint.checkpoint import Checkpoint
from haina.engine.engine import Engine
from haina.evaluate import bits, brook, choice, compress, texts
from haina.evaluate.asked import Verse, alike, samples, verses
from haina.evaluate.bits import Reader
from haina.evaluate.brook import Evaluation, Figure, Sizes
from haina.evaluate.interval import ratio, share
from haina.evaluate.ladder import landing
from haina.evaluate.report import markdown, table
from haina.evaluate.subject import Subject

WEIGHTS = Path(haina.__file__).parent / "weights"
PROSE = "海纳百川，有容乃大。The sea takes in a hundred rivers. 白日依山尽，黄河入海流。"


def quiet(*_: object) -> None:
    pass


@pytest.fixture(scope="module")
def subject() -> Subject:
    checkpoint = Checkpoint.open(WEIGHTS)
    return Subject(checkpoint, Engine.open(checkpoint), checkpoint.config.max_position_embeddings)


def test_a_text_costs_what_the_network_says_and_counts_all_bytes_but_the_first_token(
    subject: Subject,
) -> None:
    document = Reader(subject.tokenizer, subject.template)({"text": PROSE}, 1)
    (cost,) = bits.nats(subject, [document], quiet)
    ids = document.ids.tolist()
    assert cost == pytest.approx(-subject.engine.score(ids[:1], [ids[1:-1]])[0], rel=1e-5)  # eos is free
    first = subject.tokenizer.piece_bytes(ids[0])
    assert document.bytes == len(PROSE.encode()) - len(first) and first


def test_behind_a_bos_all_bytes_count(subject: Subject) -> None:
    document = Reader(subject.tokenizer, subject.template, bos=True)({"text": PROSE}, 1)
    assert document.bytes == len(PROSE.encode()) and document.charged[:2].tolist() == [False, True]


def test_a_dialogue_pays_for_its_words_and_not_for_its_marks(subject: Subject) -> None:
    said = [{"role": "user", "content": "你好"}, {"role": "assistant", "content": "Hello!"}]
    document = Reader(subject.tokenizer, subject.template)({"messages": said}, 1)
    assert document.bytes == len("你好Hello!".encode())
    charged = document.ids[document.charged].tolist()
    assert not {subject.template.user_id, subject.template.assistant_id, 2} & set(charged)
    assert len(charged) == len(document.ids) - 3


def test_windows_charge_each_token_once_behind_half_a_context(subject: Subject) -> None:
    small = Subject(subject.checkpoint, subject.engine, 16)
    document = Reader(subject.tokenizer, subject.template)({"text": PROSE * 2}, 1)
    windows = list(bits._windows(document, 16))
    assert [id for score, _ in windows for id in score.answers[0]] == document.ids[1:].tolist()
    assert all(len(score.prompt) == 8 for score, _ in windows[1:])
    whole, cut = (bits.nats(one, [document], quiet)[0] for one in (subject, small))
    assert whole != cut and 0.7 < whole / cut < 1.3


def test_intervals() -> None:
    assert (share(0, 30).low, share(30, 30).high) == (0.0, 1.0)
    assert share(24, 30).low == pytest.approx(0.6269, abs=1e-4)  # R: binom::binom.wilson(24, 30)
    assert share(24, 30).high == pytest.approx(0.9050, abs=1e-4)
    found = ratio(np.array([1.0, 2, 3, 4]), np.array([1.0, 1, 1, 1]))
    assert found.value == 2.5 and 1 <= found.low < 2.5 < found.high <= 4


def test_a_compressor_that_has_seen_a_text_needs_little_for_it_again() -> None:
    text = np.random.default_rng(0).bytes(4000)
    for rival in (compress.xz, compress.ppmd):
        assert rival(b"x" * 100 + text, text) < 400 < 3900 < rival(b"x" * 100, text)


@pytest.mark.parametrize(
    ("answer", "good"),
    [
        ("白日依山尽，黄河入海流。\n欲穷千里目，更上一层楼。", True),
        ("白日依山尽，黄河入海流。", False),
        ("白日依山尽，黄河入海流。欲穷千里目，更上一层楼啊。", False),
        ("Here: 白日依山尽，黄河入海流。欲穷千里目，更上一层楼。", False),
    ],
)
def test_a_quatrain_is_four_lines_of_its_length(answer: str, good: bool) -> None:
    assert Verse("", 5).fulfilled(answer) is good


def test_prompts_are_the_same_each_time() -> None:
    assert verses(10, 1) == verses(10, 1) != verses(10, 2)
    assert {one.characters for one in verses(10, 1)} == {5, 7}
    assert len(samples()) == 20
    assert alike("你好吗", "你好呀") == pytest.approx(2 / 3)


def test_last_words_have_four_choices_of_which_one_is_right() -> None:
    text = "".join(
        f"这是一个很长的句子，说的是第{n}件事情，也就是{w}。"
        for n, w in enumerate("江河 湖海 山川 草木 风雨".split())
    )
    items = choice.last_words([text], "zh", 5, 1)
    assert len(items) == 5
    for item in items:
        assert len(set(item.choices)) == 4 and text.startswith(
            item.choices[item.right], text.find(item.prompt) + len(item.prompt)
        )


def test_the_likelier_choice_is_chosen(subject: Subject) -> None:
    item = choice.Item("你好！我是海纳", ("的苹果树", "·溪"), 1)
    assert choice.correct(subject, [item], quiet) == [True]
    assert choice.by_overlap([item, choice.Item("苹果", ("苹", "苹果", "果苹", "梨"), 1)]) == 0.5 + 0.5


def test_documents_are_drawn_by_their_names_until_there_are_enough() -> None:
    rows = [{"id": str(n), "source": "s", "domain": "d", "text": "x" * 50} for n in range(40)]
    some = texts._some(rows, 200, 30)["d"]
    assert (
        some == texts._some(reversed(rows), 200, 30)["d"] and [len(row["text"]) for row in some] == [30] * 7
    )


def test_ctrl_c_leaves_what_is_done(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: Evaluation) -> Iterator[Figure]:
        yield Figure("loops", "answers", "%", 0.0, 0.0, 0.1, 9, ("≤", 0.02), ("so far", "至此"))
        raise KeyboardInterrupt

    (tmp_path / "sources.json").write_text("{}")
    monkeypatch.setattr(brook, "STEPS", (brook.verse, interrupted, brook.speed))
    evaluation = Evaluation(subject, tmp_path, None, Sizes(verses=2), 1, quiet)
    evaluation.measure()
    record = json.loads(json.dumps(evaluation.record()))
    assert [figure["measure"] for figure in record["figures"]] == ["verse", "loops"]
    assert "Stopped" in table(record) and "so far" in table(record)
    record["samples"] = [{"prompt": "a|b", "text": "<b>\nc"}]
    assert "| a\\|b | &lt;b><br>c |" in markdown(record) and "至此" in markdown(record)


def test_the_landing_of_a_run(subject: Subject, tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    assert landing(tmp_path, subject.checkpoint.config) is None
    law = {"floor": 2.0, "a": 1.0, "b": -1.0, "unit": 1.0, "error": 0.0}
    (tmp_path / "ladder.json").write_text(json.dumps({"law": law}))
    (tmp_path / "base/run.json").write_text('{"length": 512}')
    (tmp_path / "base/log.jsonl").write_text('{"tokens": 1000, "valid_nats": 2.1}\n{"tokens": 2000}\n')
    found = landing(tmp_path, subject.checkpoint.config)
    assert found is not None and (found.predicted, found.reached) == (pytest.approx(2.0, abs=1e-6), 2.1)


def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "haina", "evaluate", *arguments]
    environment = {**os.environ, "HAINA_LANG": "en", **env}
    return subprocess.run(
        command, capture_output=True, encoding="utf-8", env=environment, stdin=subprocess.DEVNULL
    )


def test_bits_per_byte_verb(tmp_path: Path) -> None:
    file = tmp_path / "texts.jsonl"
    rows = [{"text": PROSE, "domain": "a"}, {"text": PROSE[::-1], "domain": "b"}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = run("bits-per-byte", str(WEIGHTS), str(file), "--json")
    domains = {row["domain"]: row for row in json.loads(found.stdout)["domains"]}
    assert domains.keys() == {"", "a", "b"} and domains[""]["documents"] == 2
    assert 1 < domains["a"]["bits_per_byte"] < domains["b"]["bits_per_byte"] < 12
    file.write_text("{}\n")
    found = run("bits-per-byte", str(WEIGHTS), str(file))
    assert found.returncode == 2
    assert "has neither text nor messages" in found.stderr and found.stderr.count("\n") == 1


def test_without_data_it_says_what_is_needed(tmp_path: Path) -> None:
    found = run("brook", HAINA_DATA=str(tmp_path))
    assert found.returncode == 2 and "HAINA_DATA" in found.stderr and found.stderr.count("\n") == 1
