"""The reverse dictionary against what was asked: ranks on Hill's sets and on ours, latency, size of the index.

    python -m bench.words words.db [--unseen unseen.db] [--data FOLDER]

`unseen.db` is built with `--without` the 500 words of Hill's unseen set (haina/apps/words/build.py): they stay
candidates, but no dictionary defines them. Rank 0 is the first; accepted synonyms of our own sets count. Hill's sets
lie in FOLDER/eval/revdict ($HAINA_DATA); without them only ours are measured.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from haina.apps.words.index import Index
from haina.apps.words.rank import Language, Ranking
from haina.apps.words.terms import is_chinese

OURS = Path(__file__).parents[1] / "tests" / "apps"
MISSING = 1_000_000  # the rank of a word that the index lacks


def ranks(ranking: Ranking, rows: Iterable[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Of each row {"description", "answer", "accept", "to"} the rank of the best right word, and the seconds."""
    found, seconds = [], []
    for row in rows:
        text = row["description"]
        language: Language = row.get("to") or ("zh" if is_chinese(text) else "en")
        start = time.perf_counter()
        scores, _, words = ranking.scores(text, language)
        seconds.append(time.perf_counter() - start)
        known = ranking.index.number
        right = [known[word] - words.start for word in (row["answer"], *row["accept"]) if word in known]
        places = [int((scores > scores[at]).sum()) for at in right if 0 <= at < len(scores)]
        found.append(min(places, default=MISSING))
    return np.array(found), np.array(seconds)


def line(name: str, rank: np.ndarray, seconds: np.ndarray) -> str:
    accuracy = "/".join(f"{np.mean(rank < top):.3f}" for top in (1, 10, 100))
    p95 = np.quantile(seconds, 0.95) * 1e3
    return f"| {name} | {len(rank)} | {np.median(rank):.0f} | {accuracy} | {p95:.0f} |"


def hill(folder: Path, name: str) -> list[dict[str, Any]]:
    import zstandard

    with zstandard.open(folder / "eval" / "revdict" / f"{name}.jsonl.zst", "rt", encoding="utf-8") as rows:
        return [
            {"description": r["definition"], "answer": r["word"], "accept": []} for r in map(json.loads, rows)
        ]


def ours(name: str) -> list[dict[str, Any]]:
    return [json.loads(row) for row in (OURS / f"words_{name}.jsonl").read_text("utf-8").splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("index", type=Path)
    parser.add_argument("--unseen", type=Path)
    parser.add_argument("--data", type=Path, default=os.environ.get("HAINA_DATA"))
    asked = parser.parse_args()
    ranking = Ranking(Index(asked.index))
    size = asked.index.stat().st_size / 1e6
    print(f"{len(ranking.index.words):,} words, {size:.1f} MB\n")
    print("| set | items | median rank | acc@1/10/100 | p95 ms |\n|---|---|---|---|---|")
    if asked.data:
        print(line("en Description (Hill)", *ranks(ranking, hill(asked.data, "hill_desc_200"))))
    if asked.data and asked.unseen:
        unseen = Ranking(Index(asked.unseen))
        print(line("en Unseen (Hill)", *ranks(unseen, hill(asked.data, "hill_unseen_500"))))
    print(line("zh descriptions (ours)", *ranks(ranking, ours("zh"))))
    print(line("zh↔en (ours)", *ranks(ranking, ours("cross"))))


if __name__ == "__main__":
    main()
