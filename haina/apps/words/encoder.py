"""What is learned from the dictionaries, and from what: definitions as bags of terms, pieces of words, translations.

Rows of terms: the English stems of the postings in their order, then the Chinese words that have a reading in stems
(Learned.chinese, numbers of words). It knows the numbers of an index that is being built; how they are learned,
vectors.py knows.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from haina.apps.words import vectors
from haina.apps.words.index import Index
from haina.apps.words.postings import Postings
from haina.apps.words.sources import Sense
from haina.apps.words.terms import is_chinese, stem, terms
from haina.apps.words.vectors import Choices, Lists

DIMENSIONS = 96
PIECES = 1 << 16  # rows that the pieces of all words share
SHORTEST, LONGEST = 3, 5  # letters of a piece
WEIGHED = 8.0  # nats: a term so rare begins with a vector of length one


@dataclass(frozen=True)
class Learned:
    """terms [E + Z, D], as long as they weigh; words [W, D], of length one; chinese [Z]: numbers of Chinese words."""

    terms: np.ndarray
    words: np.ndarray
    chinese: np.ndarray


@dataclass(frozen=True)
class Known:
    """An index as far as it is built; of each Chinese word its stems with their weights, and its English words."""

    words: list[str]
    english: int
    table: Postings
    stems: dict[int, list[tuple[int, float]]]
    pairs: dict[int, list[int]]
    frequency: np.ndarray


def learn(found: list[Sense], known: Known, text: dict[str, np.ndarray], untrained: set[int]) -> Learned:
    """Vectors of terms and words. `text`: what running text tells of English words, unit vectors; may be empty."""
    english = [term for term in known.table.number if term.isascii()]
    row_of = {known.table.number[term]: row for row, term in enumerate(english)}
    chinese = np.array([word for word in known.stems if known.frequency[word] > 0], np.int64)
    text_WD = _text_of_words(known, text)
    named = vectors.Words(text_WD, _pieces(known.words), PIECES)
    bags, defined = _bags(found, known, row_of, untrained)
    rows = _first_terms(known, english, text)
    rows = np.concatenate([rows, _first_chinese(known, chinese, rows, row_of)])
    choices = _choices(known, chinese, row_of, len(english))
    rows = vectors.learn(bags, defined, rows, named, choices)
    trained = np.bincount(defined.values, minlength=len(known.words)) > 0
    words = named.all(trained)
    for word, glosses in _means(found, known, row_of, rows, untrained).items():
        words[word] += glosses
    return Learned(rows, vectors.unit(words), chinese)


def _means(
    found: list[Sense], known: Known, row_of: dict[int, int], rows: np.ndarray, words: set[int]
) -> dict[int, np.ndarray]:
    """Of words that nothing was learned of, where their definitions point."""
    bags, defined = _bags(found, known, row_of, set(range(len(known.words))) - words)
    means: dict[int, np.ndarray] = {}
    for at in range(len(bags.starts) - 1):
        pointed = vectors.unit(rows[bags.values[bags.starts[at] : bags.starts[at + 1]]].sum(0)[None])[0]
        for word in defined.values[defined.starts[at] : defined.starts[at + 1]].tolist():
            means[word] = means.get(word, 0) + pointed
    return {word: vectors.unit(mean[None])[0] for word, mean in means.items()}


def of_index(index: Index, known: Known) -> Learned:
    """The rows of these terms and words in another index; zeros for what it lacks."""
    english = [term for term in known.table.number if term.isascii()]
    theirs = {term: row for row, term in enumerate(t for t in index.postings.number if t.isascii())}
    their_chinese = index.array("term_words").tolist()
    at = {index.words[word]: len(theirs) + row for row, word in enumerate(their_chinese)}
    chinese = [word for word in range(known.english, len(known.words)) if known.words[word] in at]
    rows = [theirs.get(term, -1) for term in english] + [at[known.words[word]] for word in chinese]
    words = [index.number.get(word, -1) for word in known.words]
    theirs_ED = index.array("term_vectors") * index.array("term_scales")[:, None]
    words_WD = vectors.unit(index.array("word_vectors").astype(np.float32))
    return Learned(_taken(theirs_ED, rows), _taken(words_WD, words), np.array(chinese, np.int64))


def _taken(rows: np.ndarray, numbers: list[int]) -> np.ndarray:
    """These rows; zeros for -1."""
    taken: np.ndarray = rows[numbers]
    taken[np.array(numbers) < 0] = 0
    return taken


def _lists(rows: Iterable[Iterable[int]]) -> Lists:
    values, starts = array("i"), array("q", [0])
    for row in rows:
        values.extend(row)
        starts.append(len(values))
    return Lists(np.array(values, np.int64), np.array(starts, np.int64))


def _bags(
    found: list[Sense], known: Known, row_of: dict[int, int], untrained: set[int]
) -> tuple[Lists, Lists]:
    """The stems of each gloss, and the words that it defines and that may be learned of."""
    number = {word: at for at, word in enumerate(known.words)}
    texts, words = [], []
    for sense in found:
        named = [at for word in sense.words if (at := number.get(word, -1)) >= 0 and at not in untrained]
        if not named:
            continue
        numbers = (known.table.number.get(term, -1) for term in dict.fromkeys(terms(sense.gloss)))
        if bag := [row_of[at] for at in numbers if at in row_of]:
            texts.append(bag)
            words.append(named)
    return _lists(texts), _lists(words)


# -- where the rows begin ---------------------------------------------------------------------------------------------


def _text_of_words(known: Known, text: dict[str, np.ndarray]) -> np.ndarray:
    """[W, D]: of an English word or phrase what is told of its parts, of a Chinese one that of its translations."""
    rows = np.zeros((len(known.words), DIMENSIONS), np.float32)
    for at, word in enumerate(known.words[: known.english]):
        told = [text[part] for part in word.lower().replace("-", " ").split() if part in text]
        if told:
            rows[at] = sum(told)
    for at, others in known.pairs.items():
        rows[at] = rows[others].sum(0)
    told = np.linalg.norm(rows, axis=1) > 0
    rows[told] = vectors.unit(rows[told])
    return rows


def _first_terms(known: Known, english: list[str], text: dict[str, np.ndarray]) -> np.ndarray:
    """Of each stem the mean of its words, or a direction by chance; the rarer, the longer."""
    rows = np.random.default_rng(2).standard_normal((len(english), DIMENSIONS), np.float32) * np.float32(0.02)
    at = {term: row for row, term in enumerate(english)}
    for word, told in text.items():
        if (row := at.get(stem(word))) is not None:
            rows[row] += told
    idf = known.table.idf[[known.table.number[term] for term in english]]
    first: np.ndarray = vectors.unit(rows) * (idf / WEIGHED)[:, None]
    return first


def _first_chinese(
    known: Known, chinese: np.ndarray, terms_ED: np.ndarray, row_of: dict[int, int]
) -> np.ndarray:
    rows = np.zeros((len(chinese), DIMENSIONS), np.float32)
    for row, word in enumerate(chinese.tolist()):
        for term, weight in known.stems[word]:
            if term in row_of:
                rows[row] += weight * terms_ED[row_of[term]]
        rows[row] /= max(sum(weight for _, weight in known.stems[word]), 1e-6)
    return rows


def _choices(known: Known, chinese: np.ndarray, row_of: dict[int, int], first: int) -> Choices:
    """Of each row of a term the rows of the Chinese words that may stand for it, common ones more often."""
    weighed: list[list[tuple[int, float]]] = [[] for _ in range(first + len(chinese))]
    for row, word in enumerate(chinese.tolist()):
        for term, weight in known.stems[word]:
            if term in row_of:
                often = float(np.log(1.2 + known.frequency[word]))
                weighed[row_of[term]].append((first + row, often * weight))
    lists = _lists([row for row, _ in choices] for choices in weighed)
    return Choices(lists, np.cumsum([weight for choices in weighed for _, weight in choices]))


def _pieces(words: list[str]) -> Lists:
    return _lists(
        [zlib.crc32(piece.encode()) % PIECES for piece in dict.fromkeys(pieces(word))] for word in words
    )


def pieces(word: str) -> Iterator[str]:
    """cat → <ca, cat, at>, <cat, cat>; 雨伞 → 雨, 伞, 雨伞."""
    if is_chinese(word):
        yield from word
        yield from (word[at : at + 2] for at in range(len(word) - 1))
        return
    for part in word.lower().split():
        marked = f"<{part}>"
        for length in range(SHORTEST, LONGEST + 1):
            yield from (marked[at : at + length] for at in range(len(marked) - length + 1))
