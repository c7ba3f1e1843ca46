"""The reverse dictionary: a description finds its word in both languages; filters; what was never a description."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from haina.apps.model import load_model, opened
from haina.apps.words import build, postings
from haina.apps.words.desk import Dictionary, described
from haina.apps.words.filters import rhyme, span
from haina.apps.words.index import READY, Index
from haina.apps.words.rank import CHANNELS, Found
from haina.apps.words.rescore import SHARE, Opinion
from haina.apps.words.sources import Known, Sense, _known_synsets, translations
from haina.apps.words.terms import stem, terms
from haina.cli.app import EMBEDDED
from haina.options.models import ModelOptions
from haina.options.words import WordsOptions

SENSES = [
    Sense(
        "a device that you hold over your head to keep off the rain", ("umbrella", "伞", "雨伞"), "oewn", "n"
    ),
    Sense("a doctor who looks after teeth", ("dentist", "牙医"), "oewn", "n", ("the dentist pulled it out",)),
    Sense("a person who treats animals", ("vet",), "oewn", "n"),
    Sense("feeling bad because of what others have", ("jealous", "嫉妒"), "oewn", "a"),
    Sense("(slang) a doctor", ("doc",), "wiktionary", "n"),
    Sense("tooth; teeth", ("牙齿",), "cedict"),
    Sense("doctor", ("医生",), "cedict"),
    Sense("to draw legs on a snake (idiom); to ruin by adding what is not needed", ("画蛇添足",), "cedict"),
]


@pytest.fixture(scope="module")
def dictionary(tmp_path_factory: pytest.TempPathFactory) -> Dictionary:
    known = Known(
        frequency={"umbrella": 9.0, "doc": 50.0, "医生": 90.0},
        reading={"牙医": "ya2 yi1", "医生": "yi1 sheng1", "雨伞": "yu3 san3", "伞": "san3"},
        idioms={"画蛇添足"},
        strokes={"牙": 4, "医": 7},
        hsk={"医生": 1},
        forms={"held": "hold"},
    )
    file = tmp_path_factory.mktemp("words") / "words.db"
    build.build(SENSES, known, file)
    return Dictionary(Index(file))


def words(dictionary: Dictionary, text: str, **asked: object) -> list[str]:
    return [found.word for found in dictionary.search(text, WordsOptions(**asked))]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "to", "answer"),
    [
        ("keeps rain off your head", None, "umbrella"),
        ("someone who treats sick animals", None, "vet"),
        ("looks after teeth", "zh", "牙医"),
        ("看牙齿的医生", "en", "dentist"),
        ("看牙齿的大夫", None, "牙医"),
        ("ruin by adding what was not needed", "zh", "画蛇添足"),
    ],
)
def test_a_description_finds_its_word(dictionary: Dictionary, text: str, to: str | None, answer: str) -> None:
    assert answer in words(dictionary, text, to=to)[:3]


def test_each_result_says_why_and_under_which_licence(dictionary: Dictionary) -> None:
    best = next(found for found in dictionary.search("keeps rain off") if found.word == "umbrella")
    assert best.why == SENSES[0].gloss
    assert best.source["licence"] == "CC BY 4.0"
    plain = described([best], WordsOptions())["results"][0]
    assert list(plain) == ["word", "score", "why"]


@pytest.mark.parametrize(
    ("asked", "answers"),
    [
        ({"length": "1"}, {"伞"}),
        ({"initial": "牙"}, {"牙医", "牙齿"}),
        ({"pattern": "?医"}, {"牙医"}),
        ({"containing": "蛇"}, {"画蛇添足"}),
        ({"pinyin": "y y"}, {"牙医"}),
        ({"rhyme": "安"}, {"伞", "雨伞"}),
        ({"tones": "平平"}, {"牙医", "医生"}),
        ({"strokes": "10-12"}, {"牙医"}),
        ({"hsk": 2}, {"医生"}),
        ({"idioms": True}, {"画蛇添足"}),
    ],
)
def test_filters(dictionary: Dictionary, asked: dict[str, object], answers: set[str]) -> None:
    assert set(words(dictionary, "doctor", to="zh", **asked)) == answers


def test_english_filters_and_orders(dictionary: Dictionary) -> None:
    assert words(dictionary, "doctor", pos="adjective") == ["jealous"]
    assert words(dictionary, "teeth", style="informal") == ["doc"]
    assert words(dictionary, "teeth", sort="alphabet") == ["dentist", "doc", "jealous", "umbrella", "vet"]
    assert words(dictionary, "teeth", sort="frequency")[0] == "doc"
    groups = {found.cluster for found in dictionary.search("doctor", WordsOptions(clusters=True))}
    assert min(groups) == 1


@pytest.mark.parametrize("text", ["", "   ", "!?…", "\0", "🙂"])
def test_what_is_no_description_is_refused(dictionary: Dictionary, text: str) -> None:
    with pytest.raises(ValueError, match="describe"):
        dictionary.search(text)


@pytest.mark.parametrize(
    "text", ["rain" * 200_000, 'rain" OR *', "\0rain\0", "rain 🙂", "مطر rain", "雨\ud800", "NEAR(rain, 3)"]
)
def test_odd_descriptions_are_answered(dictionary: Dictionary, text: str) -> None:
    assert isinstance(words(dictionary, text, to="en"), list)


@pytest.mark.parametrize("asked", [{"length": "many"}, {"tones": "x"}, {"rhyme": "qqq"}, {"strokes": "-3"}])
def test_filters_that_cannot_be_read_are_named(dictionary: Dictionary, asked: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=next(iter(asked.values()))):
        words(dictionary, "rain", **asked)


def test_a_file_that_is_no_index_is_named(tmp_path: Path) -> None:
    wrong = tmp_path / "x.db"
    wrong.write_bytes(b"no database at all, whatever its name says" * 40)
    for path in (wrong, tmp_path / "missing.db"):
        with pytest.raises(ValueError, match=path.name):
            Index(path)


def test_a_word_held_out_leaves_no_trace_in_relations() -> None:
    synsets = {
        "1-n": {"members": ["umbrella", "brolly"], "definition": ["keeps off rain"], "hypernym": ["3-n"]},
        "2-n": {"members": ["parasol"], "definition": ["keeps off the sun"], "hypernym": ["3-n"]},
        "3-n": {"members": ["canopy"], "definition": ["what hangs over"]},
    }
    assert _known_synsets(synsets, frozenset()) is synsets
    kept = _known_synsets(synsets, {"umbrella", "canopy"})
    assert kept["1-n"]["members"] == ["brolly"] and "3-n" not in kept
    assert kept["2-n"]["hypernym"] == []


def test_a_word_that_a_fitting_sense_mentions_is_heard_of(tmp_path: Path) -> None:
    build.build(SENSES, Known(), tmp_path / "words.db", more=("device", "leg"))
    dictionary = Dictionary(Index(tmp_path / "words.db"))
    channels, _, here = dictionary.ranking.channels("hold it over your head", "en")
    mentioned = channels[CHANNELS["en"].index("mentioned")]
    at = {word: dictionary.index.number[word] - here.start for word in ("device", "leg", "vet")}
    assert mentioned[at["device"]] > 0 == mentioned[at["leg"]] == mentioned[at["vet"]]


def test_a_model_has_a_say_on_the_first_words_alone() -> None:
    model = load_model(opened(EMBEDDED), ModelOptions(threads=1))
    opinion = Opinion(model.engine, model.tokenizer, asked=2)
    names, found = ["cat", "dog", "sun"], [Found(at, -float(at), -1) for at in range(3)]
    told = opinion.nats("an animal that barks", names[:2])
    both = opinion.rescored("an animal that barks", found, names)
    assert [each.word for each in both[2:]] == [2]
    assert {each.word: each.score for each in both[:2]} == pytest.approx(
        {at: found[at].score + SHARE * told[at] for at in (0, 1)}
    )
    assert both[0].score >= both[1].score >= both[2].score


def test_bm25_prefers_the_rarer_term_and_the_shorter_text() -> None:
    table = postings.build([{"a": 1.0, "b": 1.0}, {"a": 1.0}] + [{"c": 1.0}] * 60)
    score = np.zeros(62, np.float32)
    table.add("a", 1.0, score)
    assert score[1] > score[0] > 0 == score[2]
    assert table.weigh("b") > table.weigh("a")
    assert table.weigh("c") == 0  # everywhere


@pytest.mark.parametrize(
    ("word", "kept"),
    [
        ("relational", "relat"),
        ("hopping", "hop"),
        ("ponies", "poni"),
        ("generalization", "gener"),
        ("sky", "sky"),
    ],
)
def test_stems_are_porters(word: str, kept: str) -> None:
    assert stem(word) == kept


def test_terms_and_translations() -> None:
    assert terms("Ｃafé 雨伞") == ["cafe", "雨", "伞", "雨伞"]
    assert translations("to walk; to go (on foot), a stroll [bu4]") == ["walk", "go", "stroll"]


def test_sounds_and_spans() -> None:
    assert rhyme("guang1") == rhyme("liang2") == "ang"
    assert rhyme("xue2") == rhyme("ye3") == "ie"
    assert rhyme("shi1") != rhyme("xi1")
    assert span("2-4") == (2, 4)


@pytest.mark.skipif(not READY.exists(), reason="the index of the package is not built")
def test_the_verb_answers_with_the_index_of_the_package() -> None:
    lines = "a doctor who looks after teeth\n\n冬天从天上飘下来的白色的东西\n"
    done = subprocess.run(
        [sys.executable, "-m", "haina", "words", "--top", "20", "--index", str(READY)],
        input=lines.encode(),
        capture_output=True,
        check=True,
    )
    first, empty, last = map(json.loads, done.stdout.splitlines())
    assert "dentist" in [each["word"] for each in first["results"]]
    assert empty == {"results": []}
    assert len(last["results"]) == 20
    assert {*last["results"][0]} == {"word", "score", "why"}
