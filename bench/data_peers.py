"""MinHash as datatrove and rensa do it, where they are installed: which of some texts are near duplicates.

Both with 14 bands of 8 hashes over 5 characters, as ours. datatrove shingles words, and its splitters of Chinese need
models of spaCy or Stanza: here every character is a word, which costs it less than any splitter would.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

Find = Callable[[list[str]], np.ndarray]
BANDS, ROWS, SHINGLE = 14, 8, 5


def peers() -> dict[str, Find]:
    """By name; without those that are not installed."""
    found: dict[str, Find] = {}
    for name, find, module in (("datatrove", datatrove, "datatrove"), ("rensa", rensa, "rensa")):
        try:
            __import__(module)
        except ImportError:
            continue
        found[name] = find
    return found


def rensa(texts: list[str]) -> np.ndarray:
    """bool (N): whether a text shares a band with another. The fastest calls of rensa 0.5, a matrix for all texts."""
    from rensa import RMinHash, RMinHashLSH

    sets = [[text[i : i + SHINGLE] for i in range(max(len(text) - SHINGLE + 1, 1))] for text in texts]
    digests = RMinHash.digest_matrix_from_token_sets(sets, num_perm=BANDS * ROWS, seed=1)
    index = RMinHashLSH(threshold=0.7, num_perm=BANDS * ROWS, num_bands=BANDS)
    return np.array(index.query_duplicate_flags_matrix_one_shot(digests), bool)


def datatrove(texts: list[str]) -> np.ndarray:
    """bool (N): whether a text would be removed; of a pair that is one. Its three stages, files between them."""
    from datatrove.data import Document
    from datatrove.pipeline.dedup.minhash import (
        MinhashConfig,
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupSignature,
    )
    from loguru import logger

    logger.disable("datatrove")
    config = MinhashConfig(n_grams=SHINGLE, num_buckets=BANDS, hashes_per_bucket=ROWS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sign = MinhashDedupSignature(
            str(folder / "signatures"), config, language="ace_Arab"
        )  # needs no model
        sign.word_tokenizer = Characters()
        sign.run(Document(text=text, id=str(n)) for n, text in enumerate(texts))
        buckets = MinhashDedupBuckets(str(folder / "signatures"), str(folder / "buckets"), config=config)
        for rank in range(BANDS):
            buckets.run(None, rank, BANDS)
        MinhashDedupCluster(str(folder / "buckets"), str(folder / "remove"), config).run(None, 0, 1)
        removed = np.zeros(len(texts), bool)
        file = folder / "remove" / "000000.remove"
        if file.is_file():
            removed[np.fromfile(file, np.uint32)] = True
    return removed


class Characters:
    """datatrove's interface of a word tokenizer."""

    def word_tokenize(self, text: str) -> list[str]:
        return list(text)
