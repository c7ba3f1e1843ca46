"""How much each channel of rank.py counts: learned from descriptions whose word is known.

    python -m haina.apps.words.learn words.db held.db held.txt

prints the WEIGHTS of rank.py. `held.db` is built with `--without held.txt`: its words have no definition there, nor any
that a vector was learned from (`--untrained`). For each direction the likelihood of the right words under a softmax
over all promising ones is climbed (listwise: Cao et al., "Learning to Rank", ICML 2007), with a pull towards small
weights. The descriptions in `examples.jsonl` are ours, none of them in a test. The belief that needs no definition also
learns from the definitions of the words held out: how a word is found that no dictionary has.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from haina.apps.words.index import Index
from haina.apps.words.rank import CHANNELS, DEFINED, WEIGHTS, Language, Ranking, Weights, mixed
from haina.apps.words.terms import is_chinese

EXAMPLES = Path(__file__).with_name("examples.jsonl")
DIRECTIONS: tuple[tuple[Language, Language], ...] = (("en", "en"), ("zh", "en"), ("en", "zh"), ("zh", "zh"))
PROMISING = 300  # words that a right one is compared with
STEPS, RATE, PULL = 400, 0.05, 0.002
OTHERS = 2000  # words drawn for all the rest
Case = tuple[
    np.ndarray, np.ndarray, np.ndarray
]  # channels [N, C]; which are right; log of how many each stands for


def learn(
    ranking: Ranking, held: Ranking, rows: list[dict[str, Any]], quoted: list[dict[str, Any]]
) -> Weights:
    """Weights of all directions; those into Chinese are learned last, since they build on those into English.

    rows: asked of `ranking`; quoted: definitions, asked of `held`, which lacks them.
    """
    for direction in DIRECTIONS:
        cases = _cases(ranking, rows, direction)
        defined, free = WEIGHTS[direction]
        free_C = np.array([name not in DEFINED for name in CHANNELS[direction[1]]], float)
        WEIGHTS[direction] = (
            _climb(cases, np.array(defined)),
            _climb(cases + _cases(held, quoted, direction), np.array(free) * free_C, free_C),
        )
    return WEIGHTS


def definitions(index: Index, words: list[str]) -> list[dict[str, Any]]:
    """The first definition of each word as a description of it."""
    starts = np.append(0, np.cumsum(index.array("link_counts").astype(np.int64)))
    senses = index.array("link_senses")
    return [
        {"description": index.meaning(int(senses[starts[at]])).gloss, "answer": word, "accept": []}
        for word in words
        if (at := index.number.get(word, -1)) >= 0 and starts[at] < starts[at + 1]
    ]


def _cases(ranking: Ranking, rows: list[dict[str, Any]], direction: tuple[Language, Language]) -> list[Case]:
    return [case for row in rows if _direction(row) == direction for case in _case(ranking, row, direction)]


def _direction(row: dict[str, Any]) -> tuple[Language, Language]:
    asked: Language = "zh" if is_chinese(row["description"]) else "en"
    return asked, row.get("to", asked)


def _case(ranking: Ranking, row: dict[str, Any], direction: tuple[Language, Language]) -> list[Case]:
    channels, _, words = ranking.channels(row["description"], direction[1])
    known = ranking.index.number
    right = [known[word] - words.start for word in (row["answer"], *row["accept"]) if word in known]
    if not right:
        return []
    scores = mixed(channels, WEIGHTS[direction][0])
    promising = np.union1d(np.argpartition(-scores, PROMISING)[:PROMISING], right)
    others = np.setdiff1d(np.random.default_rng(1).integers(len(scores), size=OTHERS), promising)
    chosen = np.concatenate([promising, others])
    offset_N = np.where(np.arange(len(chosen)) < len(promising), 0, np.log(len(scores) / len(others)))
    return [(np.stack([channel[chosen] for channel in channels], 1), np.isin(chosen, right), offset_N)]


def _climb(cases: list[Case], start: np.ndarray, used_C: np.ndarray | float = 1.0) -> tuple[float, ...]:
    """Adam on the mean log-likelihood of the right words together; `used_C` is 0 for channels that are left out."""
    weights, mean, square = start.astype(float), np.zeros(len(start)), np.zeros(len(start))
    for step in range(1, STEPS + 1):
        gradient = -PULL * weights
        for channels_NC, right_N, offset_N in cases:
            scores = channels_NC @ weights + offset_N
            share = np.exp(scores - scores.max())
            share /= share.sum()
            of_right = share * right_N / max(share[right_N].sum(), 1e-30)
            gradient = gradient + (of_right - share) @ channels_NC / len(cases)
        gradient = gradient * used_C
        mean, square = 0.9 * mean + 0.1 * gradient, 0.99 * square + 0.01 * gradient**2
        weights += RATE * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.99**step)) + 1e-9)
    return tuple(round(float(weight), 2) for weight in weights)


def main() -> None:
    index, held, words = map(Path, sys.argv[1:])
    rows = [json.loads(line) for line in EXAMPLES.read_text("utf-8").splitlines()]
    known = Index(index)
    quoted = definitions(known, words.read_text("utf-8").split())
    for direction, weights in learn(Ranking(known), Ranking(Index(held)), rows, quoted).items():
        print(f"    {direction}: {weights},")


if __name__ == "__main__":
    main()
