"""Learn a SentencePiece vocabulary with Baichuan's choices.

BPE, digits one by one, byte fallback; Baichuan 2's form without normalisation and dummy prefix, with
whitespace-only pieces (its report, arXiv:2309.10305, section 2.3), or Baichuan 1's with both. A block of control
pieces lies at ids 3 … 198, so that Baichuan's role ids 195 and 196 stand where Baichuan has them. It does not know
where the text comes from.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import sentencepiece

from haina.text.tokenizer import CHARACTER_MODE, SPACE, Tokenizer
from haina.wording import say

# Baichuan's <reserved_0> has id 93, so the user's <reserved_102> has 195. What lies before is to spare; in a vocabulary
# whose first piece declares it, 197 and 198 (<reserved_104>, <reserved_105>) open and close character mode.
SPARE = [f"<spare_{id}>" for id in range(3, 93)]
RESERVED = [f"<reserved_{n}>" for n in range(106)]  # ids 93 … 198
SYMBOLS = ["\n"]
FIXED = 3 + len(SPARE) + len(RESERVED) + len(SYMBOLS) + 256 + 1  # in every vocabulary: bytes and a space, too
LONGEST_LINE = 1024  # characters; SentencePiece leaves out lines of more than 4,192 bytes


def learn(
    lines: Iterable[str],
    *,
    pieces: int,
    coverage: float = 0.9999,
    longest: int = 32,
    v1: bool = False,
    characters: str = "",
) -> bytes:
    """The serialized model (a `tokenizer.model` file) of `pieces` pieces learnt from lines of text.

    coverage: the share of the text whose characters have a piece; the rest becomes bytes. longest: characters of a
    piece. v1: with NFKC and a dummy prefix, as Baichuan 1. characters: each gets a piece of its own, whether the
    text holds it or not, and the vocabulary a character mode. ValueError, with the numbers: the text is too small
    for so many pieces, or there are fewer pieces than characters need.
    """
    own = set(characters) - {*SYMBOLS, " ", SPACE}
    cut = [part for line in lines for part in _cut(line)]
    counts = Counter(chain.from_iterable(cut))
    alphabet = _alphabet(counts, own, coverage)
    _check(pieces, len(alphabet), len(own), counts.total())
    # SentencePiece stops adding even required characters once those it has cover enough of the text, so it is shown
    # no other characters, and each of these often enough for a share in float32.
    times = 1 + counts.total() // 10_000_000
    shown = chain(_without(cut, set(counts) - alphabet), sorted(own | {" "}) * times)
    wire = _train(shown, _options(pieces, longest, v1, alphabet, by_character=bool(own)))
    _check_characters(wire, own)
    return wire


def _cut(line: str) -> Iterator[str]:
    """A line as SentencePiece takes it: not too long, not blank, without NUL and its own sign for a space."""
    line = line.replace("\0", " ").replace(SPACE, " ")
    parts = (line[at : at + LONGEST_LINE] for at in range(0, len(line), LONGEST_LINE))
    return (part for part in parts if part.strip())


def _alphabet(counts: Counter[str], own: set[str], coverage: float) -> set[str]:
    """Our own characters, and the most frequent others until all of them cover that share of the text."""
    kept, left = set(own), coverage * counts.total() - sum(counts[char] for char in own)
    for char, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if left <= 0:
            break
        if char not in own:
            kept.add(char)
            left -= count
    return kept - {*SYMBOLS, " "}


def _without(lines: Iterable[str], rare: set[str]) -> Iterator[str]:
    """The lines, cut at the rare characters."""
    if not rare - {" "}:
        return iter(lines)
    pattern = re.compile(f"[{re.escape(''.join(sorted(rare - {' '})))}]+")
    return (part for line in lines for part in pattern.split(line) if part)


def _train(lines: Iterable[str], options: dict[str, Any]) -> bytes:
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(model_writer=model, sentence_iterator=iter(lines), **options)
    except RuntimeError as error:  # what its C++ exceptions become
        most = re.search(r"value <= (\d+)", str(error))
        if not most:
            reason = " ".join(str(error).split())
            raise ValueError(
                say(f"SentencePiece refuses: {reason}", f"SentencePiece 拒绝训练：{reason}")
            ) from None
        raise ValueError(
            say(
                f"the text is too small for {options['vocab_size']:,} pieces: it holds {int(most[1]):,}; "
                "give more text or ask for fewer",
                f"语料太少，得不到 {options['vocab_size']:,} 个词元，最多 {int(most[1]):,} 个；"
                "请增加语料，或减少词元数",
            )
        ) from None
    return model.getvalue()


def _options(
    pieces: int, longest: int, v1: bool, alphabet: set[str], *, by_character: bool
) -> dict[str, Any]:
    declared = [CHARACTER_MODE[0]] if by_character else SPARE[:1]
    return dict(
        model_type="bpe",
        vocab_size=pieces,
        character_coverage=1.0,  # of what it is shown
        required_chars="".join(sorted(alphabet | {SPACE})),
        max_sentencepiece_length=longest,
        split_digits=True,
        byte_fallback=True,
        normalization_rule_name="nmt_nfkc" if v1 else "identity",
        add_dummy_prefix=v1,
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=not v1,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        control_symbols=[*declared, *SPARE[1:], *RESERVED],
        user_defined_symbols=SYMBOLS,
        num_threads=2,
        minloglevel=2,
    )


def _check(pieces: int, characters: int, own: int, total: int) -> None:
    if not total:
        raise ValueError(
            say(
                "there is no text to learn a vocabulary from; give files with text",
                "没有可用来训练词表的文本；请提供含有文本的文件",
            )
        )
    if pieces <= FIXED + characters:
        raise ValueError(
            say(
                f"{pieces:,} pieces are too few: {FIXED} for control and bytes and {characters:,} characters "
                f"({own:,} of them asked for) leave none for words; ask for more than {FIXED + characters:,}",
                f"{pieces:,} 个词元不够：控制词元与字节占 {FIXED} 个，单字占 {characters:,} 个"
                f"（其中指定 {own:,} 个），已无余量；词元数须大于 {FIXED + characters:,}",
            )
        )


def _check_characters(wire: bytes, own: set[str]) -> None:
    tokenizer = Tokenizer(wire)
    missing = sorted(char for char in own if tokenizer.characters.get(char) is None)
    if missing:
        raise ValueError(
            say(
                f"Baichuan 1's normalisation turns {missing[0]} into another character; leave it out, or use --v2",
                f"Baichuan 1 的规范化会把“{missing[0]}”变成别的字；请去掉此字，或改用 --v2",
            )
        )
