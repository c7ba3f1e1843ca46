"""The n-gram model: probabilities, by hand and as a distribution, and against a model written the plain way."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

from haina.evaluate import ngram
from haina.evaluate.ngram import Text, nats, windows

EOS = 0


def text_of(*documents: list[int], pieces: int) -> Text:
    return Text([np.array([i for ids in documents for i in (*ids, EOS)], np.uint16)], EOS, pieces)


def test_bigrams_by_hand() -> None:
    # 1 2 1 3 eos: 1 follows eos and 2, so of the bigrams' kinds (eos 1, 1 2, 2 1, 1 3, 3 eos) 2 of 5 end in 1.
    text = text_of([1, 2, 1, 3], pieces=4)
    p = np.exp(-nats(text, np.array([[1, 2], [1, 1], [2, 1]])))
    # Too small for its own discounts: 0.5, 1, 1.5. Counts of kinds: 1 has 2, eos, 2 and 3 have 1 each.
    left = (3 * 0.5 + 1.0) / 5 / 4  # of the unigrams, for each of the four pieces
    p1, p2 = (2 - 1.0) / 5 + left, (1 - 0.5) / 5 + left
    # After 1 come 2 and 3, once each; after 2 comes 1.
    assert p == pytest.approx([0.5 / 2 + (1.0 / 2) * p2, (1.0 / 2) * p1, 0.5 + 0.5 * p1])


@pytest.mark.parametrize("context", [[EOS] * 4, [1, 2, 3, 4], [9, 9, 9, 9]])
def test_it_is_a_distribution(context: list[int]) -> None:
    random = np.random.default_rng(0)
    documents = [(random.integers(1, 12, 30) ** 2 // 12 + 1).tolist() for _ in range(60)]
    asked = np.array([[*context, word] for word in range(16)])
    p = np.exp(-nats(text_of(*documents, pieces=16), asked))
    assert p.sum() == pytest.approx(1, abs=1e-12) and p.min() > 0


def test_it_agrees_with_a_model_of_dictionaries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ngram, "CHUNK_TOKENS", 97)  # so that n-grams lie across chunks
    random = np.random.default_rng(1)
    documents = [random.geometric(0.3, 20).clip(max=9).tolist() for _ in range(80)]
    text = text_of(*documents, pieces=10)
    asked = windows(np.array(documents[3] + [9, 9, 1, 2, 1]), EOS)
    plain = Plain(text)
    expected = [-np.log(plain.p(tuple(row[:-1]), row[-1], 5)) for row in asked.tolist()]
    assert nats(text, asked) == pytest.approx(expected, abs=1e-9)


class Plain:
    """Chen and Goodman's equations, with a dictionary for each order."""

    def __init__(self, text: Text):
        self.pieces = text.pieces
        rows = [tuple(row) for chunk in ngram._lags(text, 5) for row in chunk[::-1].T.tolist()]
        self.counts: dict[int, dict[tuple[int, ...], int]] = {5: defaultdict(int)}
        for row in rows:
            self.counts[5][row] += 1
        for n in (4, 3, 2, 1):
            kinds = {row[-n - 1 :] for row in rows}
            self.counts[n] = defaultdict(int)
            for kind in kinds:
                self.counts[n][kind[1:]] += 1

    def p(self, context: tuple[int, ...], word: int, n: int) -> float:
        if n == 0:
            return 1 / self.pieces
        counts, before = self.counts[n], context[len(context) - n + 1 :]
        discounts = ngram._discounts(np.array(list(counts.values())))
        after = {kind[-1]: count for kind, count in counts.items() if kind[:-1] == before}
        lower = self.p(context, word, n - 1)
        if not after:
            return lower
        taken = sum(discounts[min(c, 3)] for c in after.values())
        mine = after.get(word, 0)
        return (mine - discounts[min(mine, 3)] + taken * lower) / sum(after.values())
