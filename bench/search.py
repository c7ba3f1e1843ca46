"""Search: finding paragraphs, answering by a sentence, saying that nothing is there, and how fast.

    python -m bench.search --data FOLDER [--every 1] [--copies 28]
    python -m bench.search --data FOLDER --fit

FOLDER holds cmrc2018_{dev,trial}.json (ymcui/cmrc2018@c0eb1b6, squad-style-data, CC BY-SA 4.0), DRCD_{dev,test}.json
(DRCKnowledgeTeam/DRCD@b944790, CC BY-SA 3.0) and xquad.{en,zh}.json (google-deepmind/xquad@7d30520, CC BY-SA 4.0). The
pool is all paragraphs of the first four, 3,104. Weights are fitted on CMRC trial and DRCD dev alone; the two others are
measured. "Not there": the same questions once with their paragraph in the pool and once without, half and half. Times
are CPU times of one process.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from bench import search_injected
from bench.report import Goal, Report, Section
from haina.apps.search.answer import WEIGHTS, answered, evidence
from haina.apps.search.features import Question
from haina.apps.search.rank import Ranked, Ranking, counted
from haina.apps.search.sentences import features, sentences
from haina.apps.search.store import Store
from haina.apps.search.terms import folded

POOL = ("cmrc2018_trial", "DRCD_dev", "cmrc2018_dev", "DRCD_test")
FITTED, MEASURED = POOL[:2], POOL[2:]
TOP, READ = 20, 5
RIGHT = {"cmrc2018_dev": 0.957, "DRCD_test": 0.913}
SENTENCE = {"cmrc2018_dev": 0.75, "DRCD_test": 0.82}
ADDED = 100
BATCH = 8000


@dataclass(frozen=True)
class Asked:
    """A question, its paragraph by name, and the texts of its answer."""

    question: str
    document: str
    answers: tuple[str, ...]


def paragraphs(data: Path, name: str) -> Iterator[tuple[str, str, list[dict[str, object]]]]:
    """(name, text, questions) of each paragraph of a set."""
    content = json.loads((data / f"{name}.json").read_text("utf-8"))
    found = (paragraph for entry in content["data"] for paragraph in entry["paragraphs"])
    for number, paragraph in enumerate(found):
        yield f"{name}/{number}", paragraph["context"], paragraph["qas"]


def questions(data: Path, name: str, every: int) -> list[Asked]:
    found = [
        Asked(qa["question"], document, tuple(answer["text"] for answer in qa["answers"]))
        for document, _, qas in paragraphs(data, name)
        for qa in qas
    ]
    return [asked for asked in found[::every] if any(map(str.isalnum, asked.question))]


def filled(store: Store, texts: Sequence[tuple[str, str]]) -> None:
    """Documents into an index, many at a time as ingest.py does, and what is counted about them."""
    for at in range(0, len(texts), BATCH):
        with store.writing():
            for name, text in texts[at : at + BATCH]:
                store.put(name, "", text)
    with store.writing():
        store.remember("characters", json.dumps(asdict(counted(store))))


def pool(data: Path, names: Sequence[str]) -> list[tuple[str, str]]:
    return [(document, text) for name in names for document, text, _ in paragraphs(data, name)]


def without(ranked: Sequence[Ranked], document: str) -> list[Ranked]:
    return [each for each in ranked if each.passage.document != document]


def right(asked: Asked, quote: str) -> bool:
    return any(folded(answer) in folded(quote) for answer in asked.answers)


# -- what is measured ---------------------------------------------------------------------------------------------


@dataclass
class Tally:
    """One set: at which place each paragraph came, which sentences were right, what was said to be there."""

    places: list[int]
    first: list[bool]
    three: list[bool]
    there: list[tuple[bool, bool]]  # whether it is, whether it was said
    resolved: list[bool]

    def at(self, most: int) -> float:
        return float(np.mean([0 <= place < most for place in self.places]))

    def precision(self, there: bool) -> float:
        said = [is_there for is_there, was_said in self.there if was_said is there]
        return said.count(there) / max(len(said), 1)

    def recall(self, there: bool) -> float:
        said = [was_said for is_there, was_said in self.there if is_there is there]
        return said.count(there) / max(len(said), 1)


def tallied(store: Store, asked: Sequence[Asked]) -> Tally:
    ranking, tally = Ranking(store), Tally([], [], [], [], [])
    for each in asked:
        question = ranking.question(each.question)
        ranked = ranking.find(question, TOP)
        documents = list(dict.fromkeys(one.passage.document for one in ranked))
        tally.places.append(documents.index(each.document) if each.document in documents else -1)
        quoted = _quoted(question, ranked)
        tally.first.append(right(each, quoted[0]) if quoted else False)
        tally.three.append(any(right(each, quote) for quote in quoted[:3]))
        for is_there, those in ((True, ranked), (False, without(ranked, each.document))):
            answer = answered(question, those)
            tally.there.append((is_there, answer.found))
            tally.resolved += [store.text(c.document)[c.start : c.end] == c.quote for c in answer.citations]
    return tally


def _quoted(question: Question, ranked: Sequence[Ranked]) -> list[str]:
    """The sentences that may answer, best first, whether or not one is thought to."""
    found, rows = _rows(question, ranked)
    scores = np.array(rows) @ np.array(WEIGHTS) if found else np.zeros(0)
    return [found[at] for at in np.argsort(-scores, kind="stable")]


def _rows(question: Question, ranked: Sequence[Ranked]) -> tuple[list[str], list[list[float]]]:
    read = ranked[:READ]
    found = list(sentences([each.passage for each in read]))
    return [each.text for each in found], features(question, found, [each.score for each in read])


def quality(store: Store, data: Path, every: int) -> Section:
    rows, goals = [], []
    for name in MEASURED:
        tally = tallied(store, questions(data, name, every))
        shares = [tally.at(1), tally.at(5), tally.at(10), np.mean(tally.first), np.mean(tally.three)]
        shares += [tally.precision(False), tally.recall(False), tally.precision(True), tally.recall(True)]
        shares.append(np.mean(tally.resolved))
        rows.append([name, str(len(tally.places)), *(f"{share:.3f}" for share in shares)])
        goals += [
            Goal(f"{name}: paragraph first", shares[0], RIGHT[name]),
            Goal(f"{name}: answer in the first sentence", float(shares[3]), SENTENCE[name]),
            Goal(f"{name}: “not found”, precision", shares[5], 0.8),
            Goal(f"{name}: “not found”, recall", shares[6], 0.8),
            Goal(f"{name}: citations that resolve", float(shares[9]), 1.0),
        ]
    header = ["set", "questions", "R@1", "R@5", "R@10", "sentence first", "in three"]
    header += ["not found P", "R", "found P", "R", "resolved"]
    return Section("Quality", "", header, rows, goals)


def languages(data: Path, every: int) -> Section:
    """XQuAD: a question in one language, its paragraph in the other, found by a dictionary."""
    rows, goals = [], []
    for asks, holds in (("en", "en"), ("zh", "zh"), ("en", "zh"), ("zh", "en")):
        with tempfile.TemporaryDirectory() as folder:
            store = Store(Path(folder) / "x.db", new=True)
            filled(store, pool(data, [f"xquad.{holds}"]))
            ranking, places = Ranking(store), []
            for each in questions(data, f"xquad.{asks}", every):
                number = each.document.split("/")[1]
                found = ranking.find(ranking.question(each.question), TOP)
                documents = list(dict.fromkeys(one.passage.document.split("/")[1] for one in found))
                places.append(documents.index(number) if number in documents else TOP)
            store.close()
        shares = [float(np.mean(np.array(places) < n)) for n in (1, 5, 10)]
        rows.append([f"{asks} → {holds}", *(f"{share:.3f}" for share in shares)])
        goals += [Goal(f"{asks} → {holds}, R@10", shares[2], 0.25)] if asks != holds else []
    return Section("Languages (240 paragraphs)", "", ["", "R@1", "R@5", "R@10"], rows, goals)


def speed(data: Path, copies: int) -> Section:
    """The pool so many times over."""
    texts = pool(data, POOL)
    asked = [each.question for name in MEASURED for each in questions(data, name, 40)]
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "big.db", new=True)
        began = time.process_time()
        filled(store, [(f"{copy}/{name}", text) for copy in range(copies) for name, text in texts])
        indexing, ranking = time.process_time() - began, Ranking(store)
        ask = [_timed(lambda text=text: _ask(ranking, text)) for text in asked]
        add = [_timed(lambda at=at: _add(store, f"new/{at}", texts[at][1])) for at in range(ADDED)]
        size, megabytes = store.size, store.path.stat().st_size / 1e6
        store.close()
    per = indexing * 100_000 / size
    row = [str(size), f"{indexing:.1f}", f"{megabytes:.0f}"]
    row += [f"{np.percentile(times, share):.1f}" for times in (ask, add) for share in (50, 95)]
    header = ["passages", "indexing s", "MB", "query p50 ms", "p95", "add one p50 ms", "p95"]
    goals = [
        Goal("seconds to index 100,000 passages", per, 60, most=True),
        Goal("query, 95th percentile, ms", float(np.percentile(ask, 95)), 30, most=True),
        Goal("add one document, 95th percentile, ms", float(np.percentile(add, 95)), 20, most=True),
    ]
    return Section("Speed, CPU time", "", header, [row], goals)


def _ask(ranking: Ranking, text: str) -> None:
    question = ranking.question(text)
    answered(question, ranking.find(question, 10))


def _add(store: Store, name: str, text: str) -> None:
    with store.writing():
        store.put(name, "", text)


def _timed(act) -> float:  # type: ignore[no-untyped-def]
    began = time.process_time()
    act()
    return (time.process_time() - began) * 1e3


# -- weights ------------------------------------------------------------------------------------------------------


def fit(store: Store, data: Path, every: int) -> None:
    """Print the weights of passages, of sentences and of “found”, fitted on the two sets for it."""
    ranking = Ranking(store)
    asked = [each for name in FITTED for each in questions(data, name, every)]
    ranks, rows, there = [], [], []
    for each in asked:
        question = ranking.question(each.question)
        found = store.passages(store.find(question.pairs.names, TOP))
        ranks.append(
            (
                np.array([ranking.features(question, passage.text) for passage in found]),
                np.array([passage.document == each.document for passage in found]),
            )
        )
        ranked = ranking.find(question, TOP)
        for is_there, those in ((True, ranked), (False, without(ranked, each.document))):
            texts, numbers = _rows(question, those)
            if texts:
                there.append((is_there, evidence(numbers, _largest)))
            if texts and is_there:
                rows.append((np.array(numbers), np.array([right(each, text) for text in texts])))
    print("rank.WEIGHTS", listwise(ranks))
    print("answer.WEIGHTS", listwise(rows))
    numbers, said = np.array([numbers for _, numbers in there]), np.array([yes for yes, _ in there], float)
    print("answer.FOUND, FOUND_BIAS", logistic(numbers, said))


def _largest(numbers: Sequence[float]) -> Iterator[int]:
    return iter([int(np.argmax(numbers))])


def listwise(groups: Sequence[tuple[np.ndarray, np.ndarray]], *, decay: float = 0.01) -> np.ndarray:
    """Weights under which a right one of each group is the likeliest: softmax within a group, by Adam."""
    groups = [(x, y) for x, y in groups if len(y) and y.any() and not y.all()]
    x, y = np.concatenate([x for x, _ in groups]), np.concatenate([y for _, y in groups])
    group = np.repeat(np.arange(len(groups)), [len(y) for _, y in groups])
    spread = x.std(0) + 1e-9
    x = x / spread
    weights, first, second = np.zeros(x.shape[1]), 0.0, 0.0
    for step in range(1, 801):
        scores = x @ weights
        most = np.full(len(groups), -np.inf)
        np.maximum.at(most, group, scores)
        chance = np.exp(scores - most[group])
        every, good = np.bincount(group, chance), np.bincount(group, chance * y)
        slope = x.T @ (chance / every[group] - chance * y / good[group]) / len(groups) + decay * weights
        first, second = 0.9 * first + 0.1 * slope, 0.99 * second + 0.01 * slope**2
        weights -= 0.05 * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.99**step)) + 1e-8)
    return np.round(weights / spread, 2)


def logistic(x: np.ndarray, y: np.ndarray, *, decay: float = 1e-3) -> np.ndarray:
    """Weights and, last, the bias of a logistic regression, by Newton's method."""
    mean, spread = x.mean(0), x.std(0) + 1e-9
    rows = np.c_[(x - mean) / spread, np.ones(len(x))]
    weights = np.zeros(rows.shape[1])
    ridge = decay * len(rows)
    for _ in range(50):
        chance = 1 / (1 + np.exp(-rows @ weights))
        curve = (rows * (chance * (1 - chance))[:, None]).T @ rows + ridge * np.eye(len(weights))
        weights -= np.linalg.solve(curve, rows.T @ (chance - y) + ridge * weights)
    slopes = weights[:-1] / spread
    return np.round(np.r_[slopes, weights[-1] - slopes @ mean], 2)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--every", type=int, default=1, help="one question of so many")
    parser.add_argument("--copies", type=int, default=28, help="of the pool, for the times")
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks-search.md"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "pool.db", new=True)
        filled(store, pool(given.data, POOL))
        if given.fit:
            fit(store, given.data, given.every)
            return
        parts = [quality(store, given.data, given.every), languages(given.data, given.every)]
        store.close()
    parts += [search_injected.section(pool(given.data, POOL)), search_injected.more(given.data)]
    parts.append(speed(given.data, given.copies))
    Report("python -m bench.search", [f"one question of {given.every}"], parts).write(given.out)


if __name__ == "__main__":
    main()
