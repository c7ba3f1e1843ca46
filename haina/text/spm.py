"""The bytes of a SentencePiece `tokenizer.model`: read, checked, rewritten in one respect, and composed.

The file is a protobuf message (google/sentencepiece@2734490 `src/sentencepiece_model.proto`), a wire format
so small that reading it here costs less than a dependency. Three things need it: turning pieces into control
pieces (`Model.with_control`; why, says `haina/text/tokenizer.py`), GGUF files, which carry a vocabulary
without its file (`compose`), and safety. The C++ library goes where a file tells it to go. Version 0.2.1
follows the trie of the character map out of the file and writes matches behind the end of arrays (three of
our hostile models end the process; 0.2.2 and 0.2.3 check), and in all three a trie with a loop makes a long
text take quadratic time. So what the library follows is checked first, by us.

Covered: the lengths and types of every field that we or the library use, texts that are not UTF-8, scores
that are not numbers, the trie (each step and each string inside the file, no loops), what one rule may
write, nested matches. Not covered: faults of the library's own protobuf parser; what it reports as an error
is reported.

Not known here: what the pieces mean, how text is cut into them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from haina.wording import say

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6  # ModelProto.SentencePiece.Type
UNIGRAM, BPE = 1, 2  # TrainerSpec.ModelType

Value = int | bytes  # of one field: a varint, or the bytes of any other wire type
VARINT, LENGTH = 0, 2  # wire types
FIXED_BYTES = {1: 8, 5: 4}  # wire type → size of its values; 3 and 4, groups, are refused: nobody writes them

# Tags, which are field number << 3 | wire type: of the model, of a piece, of the trainer and of the
# normalizer spec.
PIECE, TRAINER, NORMALIZER, DENORMALIZER = 0x0A, 0x12, 0x1A, 0x2A
TEXT, SCORE, KIND = 0x0A, 0x15, 0x18
MODEL_TYPE, WHITESPACE_AS_SUFFIX = 3 << 3, 24 << 3
UNK_SURFACE, BOS_PIECE, EOS_PIECE, PAD_PIECE = (number << 3 | LENGTH for number in (44, 46, 47, 48))
UNK_PIECE, BYTE_FALLBACK = 45 << 3 | LENGTH, 35 << 3
NAME, CHARSMAP, DUMMY_PREFIX, REMOVE_EXTRA_WHITESPACES = 0x0A, 0x12, 3 << 3, 4 << 3

# User-defined pieces that begin at one character: kResultSize in PrefixMatcher::PrefixMatch.
MOST_NESTED_SYMBOLS = 64
# What a rule may read: at most one rule ends at a byte, and kMaxTrieResultsSize in Normalizer is 32. NFKC
# needs 12.
LONGEST_RULE_BYTES = 32
# What a rule may write, so that the normal form cannot be longer than the text without bounds. NFKC needs
# 33.
LONGEST_RESULT_BYTES = 256


class Damaged(ValueError):
    """What is wrong with the bytes, in both languages; `read` adds the file and the cure."""

    def __init__(self, en: str, zh: str):
        super().__init__(say(en, zh))
        self.en, self.zh = en, zh


@dataclass(frozen=True)
class Model:
    """A tokenizer.model that passed every check of this module."""

    wire: bytes
    pieces: list[str]
    kinds: bytes  # the type of each piece, one byte each
    starts: list[int]  # where the field of each piece begins in `wire`
    trainer: dict[int, Value]  # tag → last value, as protobuf has it
    normalizer: dict[int, Value]

    @property
    def unk_surface(self) -> bytes:
        """What the unknown piece adds to a text."""
        value = self.trainer.get(UNK_SURFACE, " ⁇ ".encode())
        assert isinstance(value, bytes)
        return value

    def text(self, tag: int, default: str) -> str:
        """A string of the trainer spec, or the default if it is absent or empty, as in the library."""
        value = self.trainer.get(tag, b"")
        assert isinstance(value, bytes)
        return value.decode() or default

    @property
    def name(self) -> str:
        """What the normalizer is called: "nmt_nfkc", "identity" …"""
        value = self.normalizer.get(NAME, b"")
        assert isinstance(value, bytes)
        return value.decode()

    def with_control(self, ids: Iterable[int]) -> bytes:
        """The model, serialized, with the pieces `ids` made control: known, but never found in text."""
        parts, at = [], 0
        for id in sorted(ids):
            _, _, end = next(fields(self.wire, self.starts[id], len(self.wire)))
            text = self.pieces[id].encode()
            body = bytes([TEXT, *_varint_bytes(len(text))]) + text + bytes([KIND, CONTROL])
            parts += [self.wire[at : self.starts[id]], bytes([PIECE, *_varint_bytes(len(body))]), body]
            at = end
        return b"".join([*parts, self.wire[at:]])


def read(wire: bytes, file: str) -> Model:
    """Reads and checks a serialized model; ValueError names `file`, what is wrong with it and the cure."""
    try:
        model = _parse(wire)
        _check_pieces(model)
        _check_symbols(
            piece for piece, kind in zip(model.pieces, model.kinds, strict=True) if kind == USER_DEFINED
        )
        charsmap = model.normalizer.get(CHARSMAP, b"")
        assert isinstance(charsmap, bytes)
        if charsmap:
            _check_charsmap(charsmap)
    except Damaged as damage:
        raise ValueError(
            say(
                f"{file}: {damage.en}; not a usable SentencePiece model: download tokenizer.model again",
                f"{file}：{damage.zh}；这不是可用的 SentencePiece 模型，请重新下载 tokenizer.model",
            )
        ) from None
    return model


def compose(
    pieces: Sequence[tuple[str, float, int]],
    *,
    bos_id: int | None,
    eos_id: int | None,
    add_dummy_prefix: bool,
    remove_extra_whitespaces: bool,
) -> bytes:
    """A serialized BPE model without a character map, from its pieces: text, score, kind; unchecked (`read` is).

    The ids of begin and end name their pieces; None leaves SentencePiece's names, <s> and </s>.
    """
    kinds = {kind for _, _, kind in pieces}
    trainer = _field(MODEL_TYPE, BPE) + _field(BYTE_FALLBACK, BYTE in kinds)
    named = [(BOS_PIECE, bos_id), (EOS_PIECE, eos_id)]
    named += [(UNK_PIECE, id) for id, piece in enumerate(pieces) if piece[2] == UNKNOWN]
    for tag, id in named:
        trainer += b"" if id is None else _field(tag, pieces[id][0].encode())
    normalizer = _field(NAME, b"identity") + _field(DUMMY_PREFIX, add_dummy_prefix)
    normalizer += _field(REMOVE_EXTRA_WHITESPACES, remove_extra_whitespaces)
    bodies = (
        _field(TEXT, text.encode()) + bytes([SCORE]) + struct.pack("<f", score) + _field(KIND, kind)
        for text, score, kind in pieces
    )
    parts = [_field(PIECE, body) for body in bodies]
    return b"".join([*parts, _field(TRAINER, trainer), _field(NORMALIZER, normalizer)])


def _field(tag: int, value: Value) -> bytes:
    """A field of a message: a number, or bytes behind their length."""
    if isinstance(value, int):
        return _varint_bytes(tag) + _varint_bytes(value)
    return _varint_bytes(tag) + _varint_bytes(len(value)) + value


def fields(wire: bytes, at: int, end: int) -> Iterator[tuple[int, Value, int]]:
    """(tag, value, offset behind it) of each field in wire[at:end]; Damaged when one leaves it."""
    while at < end:
        tag, at = (wire[at], at + 1) if wire[at] < 0x80 else _varint(wire, at, end)
        kind = tag & 7
        if kind == LENGTH and tag > 7:
            size, at = (wire[at], at + 1) if at < end and wire[at] < 0x80 else _varint(wire, at, end)
        elif kind == VARINT and tag > 7:
            value, at = _varint(wire, at, end)
            yield tag, value, at
            continue
        elif kind in FIXED_BYTES and tag > 7:
            size = FIXED_BYTES[kind]
        else:
            raise Damaged(
                f"byte {at - 1} begins no protobuf field", f"第 {at - 1} 字节不是 protobuf 字段的开头"
            )
        if size > end - at:
            missing = size - (end - at)
            raise Damaged(
                f"cut off at byte {end}, {missing} bytes are missing",
                f"在第 {end} 字节处中断，还缺 {missing} 字节",
            )
        at += size
        yield tag, wire[at - size : at], at


def _varint(wire: bytes, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 64:
        byte = wire[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise Damaged(f"a number is cut off at byte {at}", f"第 {at} 字节处的数字不完整")


def _varint_bytes(value: int) -> bytes:
    return bytes([value]) if value < 0x80 else bytes([value & 0x7F | 0x80]) + _varint_bytes(value >> 7)


def _parse(wire: bytes) -> Model:
    texts, scores, kinds, starts, start = _plain_pieces(wire)
    specs: dict[int, dict[int, Value]] = {TRAINER: {}, NORMALIZER: {}, DENORMALIZER: {}}
    for tag, value, end in fields(wire, start, len(wire)):
        if tag == PIECE:
            assert isinstance(value, bytes)
            text, score, kind = _piece(value)
            texts.append(text)
            scores.append(score)
            kinds.append(kind)
            starts.append(start)
        elif tag in specs:
            assert isinstance(value, bytes)
            specs[tag].update((inner, field) for inner, field, _ in fields(value, 0, len(value)))
        start = end
    if not np.isfinite(np.frombuffer(b"".join(scores), "<f4")).all():
        raise Damaged("the score of a piece is not a finite number", "有词元的分数不是有限的数")
    _check_specs(specs)
    return Model(wire, _strings(texts), bytes(kinds), starts, specs[TRAINER], specs[NORMALIZER])


def _plain_pieces(wire: bytes) -> tuple[list[bytes], list[bytes], bytearray, list[int], int]:
    """The first pieces as `_parse` gathers them, while they are laid out as every writer does it, and where
    they end.

    Nothing but speed: 64,000 pieces take half of the time that `fields` and `_piece` need.
    """
    texts, scores, kinds, starts, at = [], [], bytearray(), [], 0
    while at < len(wire) - 256 and wire[at] == PIECE and wire[at + 1] < 0x80 and wire[at + 2] == TEXT:
        after_text, after = at + 4 + wire[at + 3], at + 2 + wire[at + 1]
        if wire[at + 3] >= 0x80 or wire[after_text] != SCORE:
            break
        if after - after_text == 5:
            kinds.append(NORMAL)
        elif after - after_text == 7 and wire[after - 2] == KIND and NORMAL <= wire[after - 1] <= BYTE:
            kinds.append(wire[after - 1])
        else:
            break
        texts.append(wire[at + 4 : after_text])
        scores.append(wire[after_text + 1 : after_text + 5])
        starts.append(at)
        at = after
    return texts, scores, kinds, starts, at


def _piece(body: bytes) -> tuple[bytes, bytes, int]:
    """(text, score as it lies there, kind) of a piece, whatever the order of its fields."""
    found: dict[int, Value] = {tag: value for tag, value, _ in fields(body, 0, len(body))}
    text, score, kind = found.get(TEXT, b""), found.get(SCORE, bytes(4)), found.get(KIND, NORMAL)
    assert isinstance(text, bytes) and isinstance(score, bytes) and isinstance(kind, int)
    if not NORMAL <= kind <= BYTE:
        raise Damaged(f"a piece has the unknown type {kind}", f"有词元的类型 {kind} 未知")
    return text, score, kind


def _strings(texts: list[bytes]) -> list[str]:
    """The texts decoded, all at once; none may be empty or hold a NUL: the library has C strings."""
    for id, text in enumerate(texts):
        if not text or 0 in text:
            raise Damaged(f"piece {id} is empty or holds a NUL", f"第 {id} 号词元为空或含有 NUL")
    try:
        return b"\0".join(texts).decode().split("\0") if texts else []
    except UnicodeDecodeError as error:
        id = error.object[: error.start].count(b"\0")
        raise Damaged(f"piece {id} is not UTF-8", f"第 {id} 号词元不是 UTF-8") from None


def _check_specs(specs: dict[int, dict[int, Value]]) -> None:
    kind = specs[TRAINER].get(MODEL_TYPE, UNIGRAM)
    assert isinstance(kind, int)
    if kind not in (UNIGRAM, BPE):
        raise Damaged(
            f"model type {kind} is neither unigram (1) nor BPE (2)",
            f"模型类型 {kind} 既不是 unigram（1）也不是 BPE（2）",
        )
    if specs[TRAINER].get(WHITESPACE_AS_SUFFIX):
        raise Damaged("treat_whitespace_as_suffix is not supported", "不支持 treat_whitespace_as_suffix")
    if specs[DENORMALIZER].get(CHARSMAP):
        raise Damaged("a denormalizer is not supported", "不支持反规范化（denormalizer）")
    for tag in (UNK_SURFACE, BOS_PIECE, EOS_PIECE, PAD_PIECE):
        value = specs[TRAINER].get(tag, b"")
        assert isinstance(value, bytes)
        _check_utf8(value, "the name of a special piece", "特殊词元的名称")
    name = specs[NORMALIZER].get(NAME, b"")
    assert isinstance(name, bytes)
    _check_utf8(name, "the name of the normalizer", "规范化器的名称")


def _check_utf8(text: bytes, en: str, zh: str) -> None:
    try:
        text.decode()
    except UnicodeDecodeError:
        raise Damaged(f"{en} is not UTF-8", f"{zh}不是 UTF-8") from None


def _check_pieces(model: Model) -> None:
    if not model.pieces:
        raise Damaged("it holds no pieces", "其中没有词元")
    if model.kinds.count(UNKNOWN) != 1:
        raise Damaged(
            f"{model.kinds.count(UNKNOWN)} unknown pieces instead of one",
            f"未知词元应有 1 个，实有 {model.kinds.count(UNKNOWN)} 个",
        )
    for id in (id for id, kind in enumerate(model.kinds) if kind == CONTROL):
        piece = model.pieces[id]
        if len(piece) == 1:  # a lone character of a text is looked up among control pieces, too
            raise Damaged(
                f"control piece {id} {piece!r} is one character, which text could hold",
                f"控制词元 {id} {piece!r} 只有一个字符，普通文本会撞上它",
            )


def _check_symbols(symbols: Iterable[str]) -> None:
    """No more than MOST_NESTED_SYMBOLS user-defined pieces are prefixes of one another."""
    nested: list[str] = []
    for symbol in sorted(symbols):
        while nested and not symbol.startswith(nested[-1]):
            nested.pop()
        nested.append(symbol)
        if len(nested) > MOST_NESTED_SYMBOLS:
            raise Damaged(
                f"more than {MOST_NESTED_SYMBOLS} user-defined pieces begin one another",
                f"互为前缀的自定义词元超过 {MOST_NESTED_SYMBOLS} 个",
            )


def _check_charsmap(charsmap: bytes) -> None:
    """The character map: uint32 size of the trie, the trie, then the results, each closed by a NUL.

    Layout: `Normalizer::DecodePrecompiledCharsMap`; the trie is a darts-clone double array
    (google/sentencepiece@2734490 `third_party/darts_clone/darts.h`): unit i has its children at i ^ offset
    ^ byte, and its value at i ^ offset.
    """
    size = int.from_bytes(charsmap[:4], "little")
    trie, results = charsmap[4 : 4 + size], np.frombuffer(charsmap, np.uint8)[4 + size :]
    if not trie or size % 4 or not len(results) or results[-1]:
        raise Damaged("the sizes in the character map do not agree", "字符映射表内的长度互相矛盾")
    ends = np.flatnonzero(results == 0)
    if np.diff(ends, prepend=-1).max() > LONGEST_RESULT_BYTES:
        raise Damaged(
            f"the character map writes more than {LONGEST_RESULT_BYTES} bytes for a character",
            f"字符映射表把一个字符写成超过 {LONGEST_RESULT_BYTES} 字节",
        )
    _check_utf8(results.tobytes(), "the character map", "字符映射表")

    units = np.frombuffer(trie, "<u4")
    inner = units >> 31 == 0  # the others are values
    base = np.arange(len(units)) ^ (units >> 10 << ((units & 1 << 9) >> 6)).astype(np.int64)
    if ((base | 0xFF) >= len(units))[inner].any():
        raise Damaged("the character map points outside itself", "字符映射表指向自身之外")
    ends_rule = inner & (units >> 8 & 1 == 1)
    value = units[base[ends_rule]] & 0x7FFFFFFF
    if (value >= len(results)).any() or (results[value] & 0xC0 == 0x80).any():
        raise Damaged("the character map points outside its strings", "字符映射表指向字符串区之外")
    _check_depth(base, np.arange(len(units)) ^ np.where(inner, units & 0xFF, 0), inner)


def _check_depth(base: np.ndarray, parent_base: np.ndarray, inner: np.ndarray) -> None:
    """No path from the root is longer than LONGEST_RULE_BYTES; so there are no loops either."""
    at_depth = np.zeros(len(base), bool)
    at_depth[0] = True
    for _ in range(LONGEST_RULE_BYTES + 1):
        reached = np.zeros(len(base), bool)
        reached[base[at_depth]] = True
        at_depth = reached[parent_base] & inner
        if not at_depth.any():
            return
    raise Damaged(
        f"a rule of the character map is longer than {LONGEST_RULE_BYTES} bytes",
        f"字符映射表中有超过 {LONGEST_RULE_BYTES} 字节的规则",
    )
