"""Results that mean alike, together: spherical k-means over the terms of their definitions.

Dhillon and Modha, "Concept Decompositions for Large Sparse Text Data Using Clustering" (2001). The first centres are
the best result and those least like the ones chosen so far, so that the same results always give the same groups.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from haina.apps.words.terms import terms

if TYPE_CHECKING:
    from haina.apps.words.desk import Result

GROUPS, ROUNDS = 6, 8


def clusters(results: list[Result]) -> list[Result]:
    """The results with their group, from 1, the group of the best result first."""
    if not results:
        return results
    rows_RT = _rows([f"{each.why} {each.word}" for each in results])
    group_R = _groups(rows_RT, min(GROUPS, len(results)))
    first = {group: at for at, group in reversed([*enumerate(group_R.tolist())])}
    order = {group: place for place, group in enumerate(sorted(first, key=first.__getitem__), 1)}
    return [
        replace(each, cluster=order[group]) for each, group in zip(results, group_R.tolist(), strict=True)
    ]


def _rows(texts: list[str]) -> np.ndarray:
    """Unit vectors over the terms that more than one text holds, rare ones weighing more."""
    found = [set(terms(text)) for text in texts]
    number = {term: at for at, term in enumerate(sorted(set().union(*found)))}
    rows_RT = np.zeros((len(texts), len(number)), np.float32)
    for row, held in enumerate(found):
        rows_RT[row, [number[term] for term in held]] = 1
    rows_RT *= np.log(len(texts) / rows_RT.sum(0) + 0.1)
    unit_RT: np.ndarray = rows_RT / np.maximum(np.linalg.norm(rows_RT, axis=1, keepdims=True), 1e-6)
    return unit_RT


def _groups(rows_RT: np.ndarray, count: int) -> np.ndarray:
    chosen = [0]
    while len(chosen) < count:
        likeness = (rows_RT @ rows_RT[chosen].T).max(1)
        likeness[chosen] = np.inf
        chosen.append(int(likeness.argmin()))
    centres_GT = rows_RT[chosen]
    for _ in range(ROUNDS):
        group_R = (rows_RT @ centres_GT.T).argmax(1)
        centres_GT = np.stack(
            [rows_RT[group_R == g].sum(0) if (group_R == g).any() else centres_GT[g] for g in range(count)]
        )
        centres_GT /= np.maximum(np.linalg.norm(centres_GT, axis=1, keepdims=True), 1e-6)
    groups_R: np.ndarray = (rows_RT @ centres_GT.T).argmax(1)
    return groups_R
