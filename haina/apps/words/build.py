"""From public dictionaries to one index file.

    haina data fetch haina/apps/words/sources.toml --out FOLDER
    python -m haina.apps.words.build FOLDER words.db

`--frequent N` keeps the N most frequent words of each language; with `--vectors-of words.db` it makes `ready.db`, which
the package carries.
`--without FILE` leaves out all definitions of the words in a file, for tests of words that were never defined;
`--untrained FILE` keeps them, but lets no vector be learned from them. It knows what a sense is found by; how the parts
are weighed against each other rank.py knows.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from haina.apps.words import company, encoder, postings, text, vectors
from haina.apps.words.index import FORMAT, POS_BITS, STYLE_BITS, Index, Meaning, Writer
from haina.apps.words.sources import (
    Known,
    Sense,
    chinese_text,
    known_words,
    running_text,
    senses,
    translations,
)
from haina.apps.words.terms import is_chinese, stem, terms
from haina.text import pinyin

SOURCES = {
    "oewn": {
        "name": "Open English WordNet",
        "licence": "CC BY 4.0",
        "url": "https://github.com/globalwordnet/english-wordnet",
    },
    "wiktionary": {
        "name": "Wiktionary, by open-dictionary",
        "licence": "CC BY-SA 3.0",
        "url": "https://github.com/mhollingshead/open-dictionary",
    },
    "cedict": {
        "name": "CC-CEDICT",
        "licence": "CC BY-SA 3.0",
        "url": "https://cc-cedict.org",
    },
}
IN_GLOSS, IN_WORDS, IN_EXAMPLES, AROUND = 1.0, 0.7, 0.2, 0.3  # what a term counts for by where it stands
TRANSLATIONS = 8  # stems that a Chinese word is looked up by
LABELS = {  # in the aside that opens or closes a gloss
    "formal": ("formal", "literary", "written", "poetic", "honorific", "polite"),
    "informal": ("informal", "colloquial", "slang", "coll.", "colloq.", "vulgar"),
    "old": ("archaic", "obsolete", "dated", "old", "historical"),
}
NOTES = {*"surnam classifi sb sth etc on esp lit fig variant idiom".split()}  # CC-CEDICT's own
MANY = 10_000  # senses; in so many a term that stands in one alone is left out
BRIEF = 2  # senses of Wiktionary for a word in the index of the package
EXAMPLES = 2  # of a sense that are kept


def build(
    found: list[Sense],
    known: Known,
    out: Path,
    *,
    frequent: int = 0,
    more: Iterable[str] = (),
    untrained: Iterable[str] = (),
    vectors_of: Index | None = None,
    told: dict[str, np.ndarray] | None = None,
    chinese_text: Iterable[str] = (),
) -> int:
    """Write the index of these senses; how many words it has.

    `more`: words that may have no sense; `untrained`: words whose definitions no vector is learned from;
    `vectors_of`: another index, whose vectors are taken instead of learning some; `told`: vectors of
    English words from running text; `chinese_text`: running text in Chinese.
    """
    vocabulary, english = _vocabulary(found, known, frequent, more)
    number = {word: at for at, word in enumerate(vocabulary)}
    found = [sense for sense in found if any(word in number for word in sense.words)]
    found = _brief(found) if frequent else found
    writer = Writer(out)
    writer.about(format=FORMAT, english=english, sources=json.dumps(SOURCES))
    writer.text("words", vocabulary)
    _write_links(writer, found, number, len(vocabulary))
    around = 0.0 if frequent else AROUND
    table = postings.build(
        (_sense_terms(sense, around) for sense in found), least=2 if len(found) > MANY else 1
    )
    writer.about(most=table.most)
    writer.text("terms", table.number)
    writer.text("forms", (f"{form}\t{word}" for form, word in known.forms.items()))
    writer.array("posting_counts", np.diff(table.starts).astype(np.int32))
    writer.array("posting_steps", np.diff(table.senses, prepend=np.int32(0)))
    writer.array("posting_gains", table.gain)
    writer.array("idf", table.idf)
    pairs, stems = _write_translations(writer, found, known, number, table)
    _write_known(writer, found, known, vocabulary, number, english)
    frequency = np.array([known.frequency.get(word, 0.0) for word in vocabulary], np.float32)
    begun = encoder.Known(vocabulary, english, table, stems, pairs, frequency)
    if vectors_of:
        learned = encoder.of_index(vectors_of, begun)
        together = company.of_index(vectors_of, number.keys())
    else:
        learned = encoder.learn(found, begun, told or {}, {number[w] for w in untrained if w in number})
        together = company.learn(chinese_text, vocabulary[english:])
    _write_learned(writer, learned)
    _write_company(writer, together, number)
    writer.meanings(
        [Meaning(s.gloss, s.source, s.pos, () if frequent else s.examples[:EXAMPLES]) for s in found]
    )
    writer.close()
    return len(vocabulary)


def _vocabulary(
    found: list[Sense], known: Known, frequent: int, more: Iterable[str]
) -> tuple[list[str], int]:
    """English words, then Chinese ones, each the most frequent first; how many of them are English.

    Of Wiktionary's own words those are taken that are in use: that a list of frequent words holds.
    """
    words = {*more, *(word for s in found if s.source != "wiktionary" for word in s.words)}
    words |= {s.words[0] for s in found if s.source == "wiktionary" and s.words[0] in known.frequency}
    ordered = sorted(words, key=lambda word: (-known.frequency.get(word, 0), word))
    of_english = [word for word in ordered if not is_chinese(word)]
    of_chinese = [word for word in ordered if is_chinese(word)]
    if frequent:
        of_english, of_chinese = of_english[:frequent], of_chinese[:frequent]
    return of_english + of_chinese, len(of_english)


def _brief(found: list[Sense]) -> list[Sense]:
    """Of Wiktionary the first senses of each word alone, for the index of the package."""
    seen: Counter[str] = Counter()
    kept = []
    for sense in found:
        seen[sense.words[0]] += sense.source == "wiktionary"
        if sense.source != "wiktionary" or seen[sense.words[0]] <= BRIEF:
            kept.append(sense)
    return kept


def _sense_terms(sense: Sense, around: float) -> dict[str, float]:
    parts = [(terms(sense.gloss), IN_GLOSS), (terms(sense.also), around)]
    parts += [(terms(word), IN_WORDS) for word in sense.words]
    parts += [(terms(text), IN_EXAMPLES) for text in sense.examples]
    return postings.counted(parts)


def _write_links(writer: Writer, found: list[Sense], number: dict[str, int], words: int) -> None:
    """For each word its senses: first those of WordNet (`link_first` of them), then those of the other dictionaries."""
    rows = [
        (number[word], sense.source != "oewn", at)
        for at, sense in enumerate(found)
        for word in sense.words
        if word in number
    ]
    rows.sort()
    table = np.array(rows, np.int32).reshape(-1, 3)
    writer.array("link_senses", np.ascontiguousarray(table[:, 2]))
    writer.array("link_counts", np.bincount(table[:, 0], minlength=words).astype(np.uint16))
    writer.array("link_first", np.bincount(table[table[:, 1] == 0, 0], minlength=words).astype(np.uint16))


def _write_translations(
    writer: Writer, found: list[Sense], known: Known, number: dict[str, int], table: postings.Postings
) -> tuple[dict[int, list[int]], dict[int, list[tuple[int, float]]]]:
    """Of each Chinese word: the English words that it is glossed by, and the stems that it is looked up by."""
    pairs: dict[int, dict[int, None]] = defaultdict(dict)
    stems: dict[int, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    for sense in found:
        chinese = [number[word] for word in sense.words if is_chinese(word) and word in number]
        if not chinese:
            continue
        if sense.source == "cedict":
            phrases = translations(sense.gloss)
        else:
            phrases = [word.lower() for word in sense.words if not is_chinese(word)]
        for phrase in phrases:
            parts = [
                table.number[s] for s in map(stem, phrase.split()) if s in table.number and s not in NOTES
            ]
            use = math.log(
                1.2 + min((known.frequency.get(part, 0.0) for part in phrase.split()), default=0.0)
            )
            for word in chinese:
                if phrase in number:
                    pairs[word][number[phrase]] = None
                for part in parts:
                    stems[word][part] += use / len(parts) / math.sqrt(len(phrases))
    _write_rows(writer, "pairs", [(w, o, 1.0) for w, others in pairs.items() for o in others], len(number))
    best = {w: sorted(s.items(), key=lambda item: -item[1])[:TRANSLATIONS] for w, s in stems.items()}
    rows = [(w, t, weight / of[0][1]) for w, of in best.items() for t, weight in of]
    _write_rows(writer, "stems", rows, len(number))
    return {word: [*others] for word, others in pairs.items()}, best


def _write_rows(writer: Writer, name: str, rows: list[tuple[int, int, float]], count: int) -> None:
    """(row, value, weight) as counts, values and weights in 1/255."""
    rows.sort(key=lambda row: row[0])
    at = np.array([row[0] for row in rows], np.int64)
    writer.array(f"{name}_counts", np.bincount(at, minlength=count).astype(np.uint16))
    writer.array(f"{name}_values", np.array([row[1] for row in rows], np.int32))
    writer.array(f"{name}_weights", np.array([round(255 * row[2]) for row in rows], np.uint8))


def _write_learned(writer: Writer, learned: encoder.Learned) -> None:
    values, scale = vectors.int8(learned.terms)
    writer.array("term_vectors", values)
    writer.array("term_scales", scale)
    writer.array("word_vectors", vectors.int8(learned.words)[0])
    writer.array("term_words", learned.chinese.astype(np.int32))


def _write_company(writer: Writer, together: company.Company, number: dict[str, int]) -> None:
    """Of words that the vocabulary has: single characters of the text may be none."""
    kept = [row for row, word in enumerate(together.words) if word in number]
    contexts, scale = vectors.int8(together.contexts[[row for row in kept if row < len(together.contexts)]])
    writer.array("company_words", np.array([number[together.words[row]] for row in kept], np.int32))
    writer.array("company_vectors", vectors.int8(together.vectors[kept])[0])
    writer.array("company_contexts", contexts)
    writer.array("company_scales", scale)


def _write_known(
    writer: Writer,
    found: list[Sense],
    known: Known,
    vocabulary: list[str],
    number: dict[str, int],
    english: int,
) -> None:
    pos, labels = np.zeros(len(number), np.uint8), np.zeros(len(number), np.uint8)
    for sense in found:
        bits, label = POS_BITS.get(sense.pos, 0), _labels(sense.gloss)
        for word in sense.words:
            if word in number:
                pos[number[word]] |= bits
                labels[number[word]] |= label
    for word, kinds in known.pos.items():
        if word in number:
            pos[number[word]] |= sum(POS_BITS.get(kind, 0) for kind in kinds)
    frequency = [known.frequency.get(word, 0.0) for word in vocabulary]
    writer.array("pos", pos)
    writer.array("labels", labels)
    writer.array("frequency", np.array(frequency, np.float32))
    writer.array("hsk", np.array([known.hsk.get(word, 0) for word in vocabulary], np.uint8))
    writer.array("idiom", np.array([word in known.idioms for word in vocabulary], np.uint8))
    strokes = [[known.strokes.get(char, 0) for char in word] for word in vocabulary[english:]]
    totals = [sum(each) if all(each) else 0 for each in strokes]
    writer.array("strokes", np.array(totals, np.uint16))
    writer.array("first_strokes", np.array([each[0] for each in strokes], np.uint8))
    writer.text("readings", _readings(vocabulary[english:], known))


def _readings(words: list[str], known: Known) -> Iterator[str]:
    for word in words:
        yield known.reading.get(word, "").replace("u:", "v") or " ".join(pinyin.read(word) or [])


def _labels(gloss: str) -> int:
    aside = (
        gloss[: gloss.find(")") + 1] if gloss.startswith("(") else gloss[-24:] if gloss.endswith(")") else ""
    )
    return sum(STYLE_BITS[style] for style, names in LABELS.items() if any(name in aside for name in names))


def make(
    folder: Path,
    out: Path,
    *,
    frequent: int = 0,
    undefined: frozenset[str] = frozenset(),
    untrained: frozenset[str] = frozenset(),
    vectors_of: Path | None = None,
) -> int:
    """The index of the dictionaries in a folder; how many words it has. `undefined`: words left without definition."""
    known = known_words(folder)
    found = senses(folder, known, undefined)
    return build(
        found,
        known,
        out,
        frequent=frequent,
        more=undefined,
        untrained=untrained,
        vectors_of=Index(vectors_of) if vectors_of else None,
        told=None if vectors_of else text.vectors(running_text(folder), encoder.DIMENSIONS),
        chinese_text=chinese_text(folder),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--frequent", type=int, default=0, metavar="N")
    for name in ("--without", "--untrained", "--vectors-of"):
        parser.add_argument(name, type=Path, metavar="FILE")
    asked = parser.parse_args()
    words = make(
        asked.folder,
        asked.out,
        frequent=asked.frequent,
        undefined=_words_of(asked.without),
        untrained=_words_of(asked.untrained),
        vectors_of=asked.vectors_of,
    )
    print(words)


def _words_of(file: Path | None) -> frozenset[str]:
    return frozenset(file.read_text("utf-8").split()) if file else frozenset()


if __name__ == "__main__":
    main()
