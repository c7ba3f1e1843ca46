"""How fast a corpus is cleaned, step by step and all together, beside datatrove's MinHash and rensa.

`python -m bench.data --data FOLDER` on Chinese text (FOLDER/text_zh/train/*.jsonl.zst); writes docs/benchmarks-data.md.
CPU seconds of one process, so MB/s are those of one core, however busy the others are; every round runs every side
once. A megabyte is 10^6 bytes of UTF-8. The whole way is what `haina data build` and the encoding of a run do, from
JSON Lines to token ids, files and checksums included. The last table plants pairs of known similarity and counts how
many each side finds.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path

import numpy as np

from bench.data_peers import Find, peers
from bench.machine import Spread, describe
from bench.report import Report, Section, at_least
from haina.data import recipe as recipes
from haina.data.clean import clean
from haina.data.dedup import DOCUMENTS, Keys, scores
from haina.data.encode import Encoding, write
from haina.data.filters import why_dropped
from haina.data.language import language
from haina.data.overlap import Evaluation
from haina.data.private import redact
from haina.data.quality import Scorer, train
from haina.data.read import rows
from haina.data.steps import EVALUATION, QUALITY, Decide, Judge, Part, Write
from haina.data.words import words
from haina.native.minhash import minhash
from haina.text.tokenizer import Tokenizer

FILES = ("articles", "law", "literature", "misc", "news")
ROOT = Path(__file__).parents[1]
TOKENIZER = ROOT / "haina" / "weights" / "tokenizer.model"
Texts = list[str]
Step = Callable[[Texts], object]
SIMILARITIES = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9)
PAIRS, PAIR_CHARS = 200, 900
EVERYTHING, WHOLE = "**all of these, one after another**", "**the whole way, from files to files**"
DOCUMENTS_ALONE = "haina: near duplicates of documents"


def main() -> None:
    found = argparse.ArgumentParser(description=__doc__)
    found.add_argument("--data", type=Path, default=os.environ.get("HAINA_DATA", "../shared/data"))
    found.add_argument("--megabytes", type=float, default=2, help="of each of the five files")
    found.add_argument("--rounds", type=int, default=3)
    found.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks-data.md")
    options = found.parse_args()
    texts = [
        text for name in FILES for text in read(options.data / f"text_zh/train/{name}.jsonl.zst", options)
    ]
    sections = [speed(texts, options), curve()]
    Report("python -m bench.data", describe(1), sections).write(options.out)
    print(options.out.read_text("utf-8"))


def read(file: Path, options: argparse.Namespace) -> Texts:
    """Texts from the beginning of a file, so many megabytes."""
    texts: Texts = []
    left = options.megabytes * 1e6
    for row in rows(file):
        texts.append(row["text"])
        left -= len(row["text"].encode())
        if left < 0:
            break
    return texts


def speed(texts: Texts, options: argparse.Namespace) -> Section:
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    theirs = {f"{name}: near duplicates of documents": find for name, find in peers().items()}
    with tempfile.TemporaryDirectory() as folder:
        whole = WholeWay(Path(folder), texts, options.data)
        steps: dict[str, Step] = {**our_steps(texts, options.data), WHOLE: whole, **theirs}
        rates = measured(steps, texts, megabytes, options.rounds)
    shown = [[name, str(rate)] for name, rate in rates.items()]
    note = (
        f"{megabytes:.1f} MB of Chinese in {len(texts):,} documents; {options.rounds} rounds; "
        "the median of the rounds, the lowest and the highest."
    )
    goals = [
        at_least("every rule, duplicates, tokens: MB/s on one core", rates[EVERYTHING], 2.5),
        at_least("the same from files to files: MB/s on one core", rates[WHOLE], 2.5),
        at_least("near duplicates of documents alone: MB/s on one core", rates[DOCUMENTS_ALONE], 10),
    ]
    return Section("Speed", note, ["step", "MB/s on one core"], shown, goals)


def measured(steps: Mapping[str, Step], texts: Texts, megabytes: float, rounds: int) -> dict[str, Spread]:
    """MB per CPU second of each step."""
    found: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            start = time.process_time()
            step(texts)
            found[name].append(megabytes / (time.process_time() - start))
    return {name: Spread.of(rates) for name, rates in found.items()}


def our_steps(texts: Texts, data: Path) -> dict[str, Step]:
    known = Evaluation.of(evaluation_sets(data))
    scorer = train(texts[: len(texts) // 20], texts[-len(texts) // 20 :])
    tokenizer = Tokenizer(TOKENIZER.read_bytes())

    def each(rule: Callable[[str], object]) -> Step:
        return lambda texts: [rule(text) for text in texts]

    return {
        "clean": each(clean),
        "language": each(language),
        "heuristic filters": each(lambda text: why_dropped(text, "zh")),
        "personal data": each(redact),
        "decontamination": each(known.found),
        "quality score": each(scorer.score),
        DOCUMENTS_ALONE: minhashed,
        "duplicates at three levels": deduplicated,
        "tokens": each(tokenizer.encode),
        EVERYTHING: lambda texts: everything(texts, known, scorer, tokenizer),
    }


def deduplicated(texts: Texts) -> object:
    return scores([Keys.of(texts)])


def minhashed(texts: Texts) -> object:
    """Near duplicates among documents as the others look for them, without paragraphs and sentences."""
    keys = []
    for text in texts:
        found = words(text)
        starts = np.array([0, len(found.folded_C)])
        keys.append(minhash(found.folded_C, starts, DOCUMENTS.bands, DOCUMENTS.rows))
    return [np.unique(band, return_inverse=True) for band in np.concatenate(keys, axis=1)]


def everything(texts: Texts, known: Evaluation, scorer: Scorer, tokenizer: Tokenizer) -> int:
    """Every rule on: nothing is dropped before the last, so that each sees every document. Returns tokens."""
    cleaned = []
    for text in texts:
        tidy = clean(text)
        spoken, _ = language(tidy)
        why_dropped(tidy, spoken)
        tidy, _ = redact(tidy)
        known.found(tidy)
        scorer.score(tidy)
        cleaned.append(tidy)
    deduplicated(cleaned)
    return sum(len(tokenizer.encode(text)) for text in cleaned)


def evaluation_sets(data: Path) -> Mapping[str, list[str]]:
    """All text fields of every evaluation set at hand, the items' parts joined."""

    def texts(file: Path) -> list[str]:
        return [" ".join(str(value) for value in row.values()) for row in islice(rows(file), 20_000)]

    return {file.name: texts(file) for file in sorted((data / "eval").glob("*_test_a.jsonl.zst"))}


class WholeWay:
    """The files of a corpus and of its tokens, as `haina data build` and an encoding make them, in this process."""

    def __init__(self, folder: Path, texts: Texts, data: Path):
        rows = (json.dumps({"text": text}, ensure_ascii=False) for text in texts)
        (folder / "zh.jsonl").write_text("\n".join(rows) + "\n", "utf-8")
        source = recipes.Source("zh.jsonl", "zh", licence="MIT")
        judged = recipes.Quality(good=(source,), bad=(source,))  # the files that decide it are written here
        some = recipes.Recipe(source=(source,), evaluation=(source,), quality=judged)
        parts = (Part(source, ((folder / "zh.jsonl", "zh.jsonl"),)),)
        Evaluation.of(evaluation_sets(data)).save(folder / EVALUATION)
        train(texts[: len(texts) // 20], texts[-len(texts) // 20 :]).save(folder / QUALITY)
        self.folder, self.stages = folder, [stage(some, parts, folder) for stage in (Judge, Decide, Write)]

    def __call__(self, _texts: Texts) -> None:
        for stage in self.stages:
            stage(None, 0, 1)
        kept = (row for file in (self.folder / "corpus" / "documents").iterdir() for row in rows(file))
        shutil.rmtree(self.folder / "tokens", ignore_errors=True)
        write(kept, self.folder / "tokens", Encoding(str(TOKENIZER)))


def curve() -> Section:
    """How many of pairs of a known Jaccard similarity are found, and how many of texts that share nothing."""
    sides: dict[str, Find] = {"haina": lambda texts: scores([Keys.of(texts)]).cluster_N > 1, **peers()}
    lines = []
    for similarity in SIMILARITIES:
        texts = pairs(similarity)
        found = [find(texts) for find in sides.values()]
        shares = [np.mean(flags[::2] | flags[1::2]) for flags in found]
        expected = 1 - (1 - similarity**DOCUMENTS.rows) ** DOCUMENTS.bands
        lines.append([f"{similarity:.1f}", *(f"{share:.2f}" for share in (expected, *shares))])
    note = (
        f"{PAIRS} pairs of {PAIR_CHARS} characters for each similarity. 0.0: shares of texts wrongly found."
    )
    return Section("Pairs found", note, ["similarity", "1 - (1 - s^8)^14", *sides], lines)


def pairs(similarity: float) -> Texts:
    """Texts 2n and 2n+1 share so many of their 5-character shingles; of other texts they share next to none."""
    chance = random.Random(round(similarity * 100))
    shared = round(2 * similarity / (1 + similarity) * PAIR_CHARS)
    texts: Texts = []
    for _ in range(PAIRS):
        common = characters(chance, shared)
        texts += [common + characters(chance, PAIR_CHARS - shared) for _ in range(2)]
    return texts


def characters(chance: random.Random, count: int) -> str:
    return "".join(chr(chance.randrange(0x4E00, 0x9000)) for _ in range(count))


if __name__ == "__main__":
    main()
