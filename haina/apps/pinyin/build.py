"""The tables of the input method, made again: `python -m haina.apps.pinyin.build DATA [MORE.txt …]`.

DATA is a data pack (haina/data/brook/sources.py reads it), MORE are plain texts besides; README.md says what was used.
Written are prior.safetensors here and the readings in haina/text; the same sources give the same bytes. It needs
`pip install haina[pinyin]`.

Text that may be shipped (haina/data/brook/sources.py is the gate), without what the pack keeps for validation, is cut
into the words of the lexicon, the cut learnt from the text itself in two rounds; a trigram of them (ngram.py) over
their kinds (kinds.py) is pruned and rounded to bytes. Words are numbered by how common they are, so that 16 bits name
those that have followers.
"""

from __future__ import annotations

import argparse
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from haina.apps.pinyin import ngram
from haina.apps.pinyin.collect import collect
from haina.apps.pinyin.kinds import learn
from haina.apps.pinyin.lexicon import BOUNDARY, NUMBER, OTHER, SPECIAL, Lexicon, stored, trie
from haina.apps.pinyin.prior import FILE, Language
from haina.data.brook import sources
from haina.data.overlap import Evaluation
from haina.data.read import rows
from haina.native.lattice import BACKOFF_FROM, LIKING_FROM, Prior, Segmenter
from haina.text import pinyin
from haina.text.normalize import codes, simplified

# Files of text_zh in the pack, and the sources taken of each. Old novels are not: their language costs modern text
# ten sentences of a hundred (罢 for 吧, 著 for 着).
PROSE = {
    "articles": {"d2l-zh", "oiwiki", "react-zh", "osguide-zh", "howtocook", "howtolive"},
    "misc": {"drcd", "cmrc2018", "xquad"},
}
CHAT = frozenset({"kdconv", "smile", "belle_eval", "sharegpt_zh", "huatuo", "medical_sft_1k", "lawyer_llama"})
AT_LARGE = 0.6  # of the probability of a word alone: what wordfreq says
MOST = (1_200_000, 1_200_000)  # pairs and triples that are kept
COMMON = 65_500  # words that have followers
ENGLISH = 12_000  # words, looked at
CHUNK = 1 << 20  # characters cut at once
ROUNDS = 2
_DROPPED = re.compile("[“”‘’「」『』《》〈〉\"'\u200b\ufeff]")


def tokens(texts: Iterable[str], segmenter: Segmenter) -> np.ndarray:
    """uint32, the numbers of the words of texts; what is no Chinese word stands as one of the special ones."""
    return np.concatenate([_tokens(text, segmenter) for text in _chunks(texts)])


def _chunks(texts: Iterable[str]) -> Iterator[str]:
    held, size = list[str](), 0
    for text in texts:
        held.append(text)
        size += len(text)
        if size > CHUNK:
            yield "\n".join(held) + "\n"
            held, size = [], 0
    yield "\n".join(held) + "\n"


def _tokens(text: str, segmenter: Segmenter) -> np.ndarray:
    chars = codes(_DROPPED.sub("", text))
    kind = np.full(len(chars), ord(SPECIAL[BOUNDARY]), np.uint32)
    han = (chars >= 0x4E00) & (chars < 0xA000) | (chars == 0x3007)
    digit = (chars >= 0x30) & (chars < 0x3A) | (chars == 0x2E) | (chars == 0x25)
    latin = (chars >= 0x41) & (chars < 0x5B) | (chars >= 0x61) & (chars < 0x7B)
    kind[han], kind[digit], kind[latin] = chars[han], ord(SPECIAL[NUMBER]), ord(SPECIAL[OTHER])
    repeats = (kind[1:] == kind[:-1]) & (kind[1:] < 0x10)
    found = segmenter(np.ascontiguousarray(kind[np.concatenate([[True], ~repeats])]))
    found[found == np.uint32(0xFFFFFFFF)] = OTHER
    return found


def cut(lexicon: Lexicon, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """The text as words, and how often each occurs; the cut is learnt in ROUNDS."""
    at_large = lexicon.shares / lexicon.shares.sum()
    times = at_large * 5e7
    found = np.zeros(0, np.uint32)
    for _ in range(ROUNDS):
        segmenter = Segmenter(lexicon.words, _segment_nats(times, lexicon.words))
        found = tokens(texts, segmenter)
        counted = np.bincount(found, minlength=len(lexicon.words)).astype(np.float64)
        times = counted + 0.3 * at_large * counted.sum()
    return found, counted


def _segment_nats(times: np.ndarray, words: list[str]) -> np.ndarray:
    floor = np.array([0.3 if len(word) > 1 else 0.05 for word in words])
    nats: np.ndarray = -np.log((times + floor) / (times + floor).sum())
    return nats


def renumber(lexicon: Lexicon, counted: np.ndarray) -> tuple[Lexicon, np.ndarray]:
    """The lexicon with common words first (the special ones stay), and the new number of each old one."""
    rank = counted / counted.sum() + lexicon.shares / lexicon.shares.sum()
    order = np.argsort(-rank[len(SPECIAL) :], kind="stable") + len(SPECIAL)
    order = np.concatenate([np.arange(len(SPECIAL)), order])
    new = np.empty(len(order), np.uint32)
    new[order] = np.arange(len(order), dtype=np.uint32)
    words = [lexicon.words[i] for i in order.tolist()]
    readings = [(int(new[word]), way, nats) for word, way, nats in lexicon.readings]
    return Lexicon(words, readings, lexicon.shares[order]), new


def unigram(words_N: np.ndarray, lexicon: Lexicon, at_large: float) -> np.ndarray:
    """Probability of each word alone: by how many different words it follows (Kneser and Ney) and how often it occurs
    here, and (`at_large`) elsewhere; a little for each word, by its length, so that none is impossible."""
    size = len(lexicon.words)
    times = np.bincount(words_N, minlength=size).astype(np.float64)
    pairs = np.unique(words_N[:-1].astype(np.uint64) << np.uint64(32) | words_N[1:])
    ways = np.bincount((pairs & np.uint64(0xFFFFFFFF)).astype(np.int64), minlength=size).astype(np.float64)
    floor = np.array(
        [
            0.0 if word in SPECIAL else 1.0 / 4 ** min(len(word) - 2, 2) if len(word) > 1 else 0.02
            for word in lexicon.words
        ]
    )
    text = 0.5 * ways / ways.sum() + 0.5 * times / times.sum()
    mixed = (1 - at_large) * text + at_large * lexicon.shares / lexicon.shares.sum()
    probability: np.ndarray = 0.985 * mixed + 0.015 * floor / floor.sum()
    return probability


def quantised(model: ngram.Trigram, kinds: ngram.Kinds, alone_W: np.ndarray) -> Prior:
    """The trigram in bytes; alone_W: probabilities of all words, those without followers included."""
    common = len(model.backoff_W)
    context, start = np.unique(model.context_T, return_index=True)
    return Prior(
        cost=stored(-np.log(alone_W)),
        backoff=stored(model.backoff_W - BACKOFF_FROM),
        pair_cost=stored(model.nats_P),
        context_backoff=stored(model.backoff_P[context] - BACKOFF_FROM),
        triple_cost=stored(model.nats_T),
        kind=kinds.kind_W,
        liking=stored(-np.log(kinds.liking_KK) - LIKING_FROM),
        pair_word=model.pair_P2[:, 1].astype(np.uint16),
        triple_word=model.word_T.astype(np.uint16),
        pair_start=np.searchsorted(model.pair_P2[:, 0], np.arange(common + 1)).astype(np.uint32),
        context=context.astype(np.uint32),
        triple_start=np.append(start, len(model.context_T)).astype(np.uint32),
        boundary=BOUNDARY,
        other=OTHER,
    )


def texts(data: Path, more: Iterable[Path]) -> Iterator[str]:
    """All that is counted, simplified, without the paragraphs that share 13 characters in a row with the pack's texts
    for validation. ValueError: a source is not open, or a file is missing."""
    kept = Evaluation.of({"validation": _validation(data)})
    for text in _open(data, more):
        if kept.found(text):
            text = "\n".join(line for line in text.split("\n") if not kept.found(line))
        yield simplified(text)


def _open(data: Path, more: Iterable[Path]) -> Iterator[str]:
    for file, wanted in PROSE.items():
        for row in sources.prose(data, "text_zh", file, "train", frozenset(wanted)):
            yield row["text"]
    for row in sources.dialogues(data, "train", CHAT):
        if row["lang"] == "zh":
            yield "\n".join(message["content"] for message in row["messages"])
    for path in more:
        yield path.read_text("utf-8")


def _validation(data: Path) -> Iterator[str]:
    """Every Chinese text of the pack's valid splits, of whatever licence: they are looked for, not learnt."""
    for file in sorted((data / "text_zh/valid").glob("*.jsonl.zst")):
        yield from (row["text"] for row in rows(file) if "text" in row)
    for row in rows(data / "chat/valid/sft_zh.jsonl.zst"):
        yield from (message["content"] for message in row["messages"])


def write_readings(data: Path, folder: Path) -> None:
    """readings.txt and phrases.txt of haina/text/pinyin.py."""
    usual, others = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
    first: dict[str, str] = {}
    for row in sources.pinyin(data, "char"):
        known = [part for part in dict.fromkeys(map(pinyin.spelled, row["pinyin"])) if part]
        if not known:
            continue
        first[row["char"]] = chosen = pinyin.spelled(row.get("usual", "")) or known[0]
        usual[chosen].append(row["char"])
        for part in known if row["common"] else ():
            if part != chosen:
                others[part].append(row["char"])
    lines = (
        f"{part}\t{''.join(sorted(usual[part]))}\t{''.join(sorted(others[part]))}\n"
        for part in sorted({*usual, *others})
    )
    (folder / "readings.txt").write_text("".join(lines), "utf-8")
    phrases: dict[str, list[str]] = {}
    for row in sources.pinyin(data, "phrase"):
        parts = [pinyin.spelled(part) for part in row["pinyin"].split()]
        fits = 2 <= len(row["word"]) == len(parts) <= pinyin.LONGEST_PHRASE and all(parts)
        if (
            fits
            and "zdic" not in row["src"]
            and [p[:-1] for p in parts] != [first.get(c, "?")[:-1] for c in row["word"]]
        ):
            phrases.setdefault(row["word"], parts)
    lines = (f"{word}\t{' '.join(parts)}\n" for word, parts in sorted(phrases.items()))
    (folder / "phrases.txt").write_text("".join(lines), "utf-8")


def write_english(data: Path, folder: Path) -> None:
    """english.txt of decoder.py: the commonest words of subtitles, without those that whole syllables spell, too."""
    whole = re.compile(f"(?:{'|'.join(pinyin.syllables())})+")
    words = sources.frequent(data, "en")[:ENGLISH]
    found = [word for word in words if re.fullmatch("[a-z]{3,16}", word) and not whole.fullmatch(word)]
    (folder / "english.txt").write_text("\n".join(sorted(found)) + "\n", "ascii")


def build(data: Path, more: Iterable[Path]) -> Language:
    """The prior of a data pack and of other texts."""
    lexicon = collect(data)
    found, counted = cut(lexicon, list(texts(data, more)))
    lexicon, new = renumber(lexicon, counted)
    found = new[found]
    alone = unigram(found, lexicon, AT_LARGE)
    kinds = learn(found, alone[:COMMON])
    model = ngram.train(found, kinds, MOST)
    return Language(quantised(model, kinds, alone), trie(lexicon.readings, lexicon.words))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("more", type=Path, nargs="*")
    asked = parser.parse_args()
    write_readings(asked.data, Path(pinyin.__file__).parent)
    write_english(asked.data, FILE.parent)
    build(asked.data, asked.more).save(FILE)


if __name__ == "__main__":
    main()
