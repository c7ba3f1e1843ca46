"""Tokenizer: characters ↔ ids for one SentencePiece vocabulary (Kudo and Richardson, arXiv:1808.06226).

What a user types is only ever text. The published Baichuan tokenizers turn a typed `<reserved_102>` into
the id that opens a user's turn, because the roles are user-defined pieces, which SentencePiece looks for in
the text. So `encode` runs on a second form of the same model in which such pieces are control pieces: they
keep their ids, and no text reaches them. For every text without such a literal both forms give the same
ids. The published behaviour remains, as `control=True`: reference values need it, what users type never
does.

Not known here: templates and roles (`haina/text/messages.py`), the embedding (which may have more rows than
there are pieces), how a stream is shown (`haina/text/stream.py`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from functools import cached_property
from itertools import groupby
from pathlib import Path

import sentencepiece

from haina.text import spm
from haina.wording import say

SPACE = "▁"  # U+2581, how SentencePiece writes a space inside a piece
# A vocabulary with the first of these control pieces has a character mode, opened and closed by the others.
# (Baichuan's own have the others, too, but no such mode.)
CHARACTER_MODE = ("<character_mode>", "<reserved_104>", "<reserved_105>")
LARGEST_FILE_BYTES = 64 << 20  # the largest vocabulary known to us (256,000 pieces) takes 4.2 MB

# A user-defined piece in brackets is taken for a control piece unless it is HTML: Baichuan has tags at
# 7-51, <!DOCTYPE> at 92 (its tokenizer.model), and a name nobody thought of had better be text. Any piece of a
# reserved name is one, too.
BRACKETED = re.compile(r"<[^<>\s]+>|\[\w+\]")
RESERVED = re.compile(r"<reserved_\d+>|<\|[^<>\s]+\|>")
HTML = re.compile(
    r"</?(a|b|br|code|dd|div|dl|dt|em|h[1-6]|hr|i|img|li|ol|p|pre|span|strong|table|tbody|td|th|thead|tr|u|ul)/?>"
    r"|<!DOCTYPE>",
    re.IGNORECASE,
)


class Tokenizer:
    """One vocabulary. Ids from `size` on are rows that an embedding has to spare: they add nothing to a
    text.

    `control_ids` are the pieces that are no text: unknown, begin, end, roles, reserved. `encode` never
    gives one of them, except `unk_id` when the vocabulary has no bytes to fall back on.
    """

    def __init__(self, wire: bytes, *, file: str = "tokenizer.model"):
        """`wire` is a serialized model; ValueError names `file`, what is wrong with it and the cure."""
        self.file = file
        self._model = spm.read(wire, file)
        pieces, kinds = self._model.pieces, self._model.kinds
        self.size = len(pieces)
        self.add_dummy_prefix = bool(self._model.normalizer.get(spm.DUMMY_PREFIX, True))
        self._drops_spaces = bool(self._model.normalizer.get(spm.REMOVE_EXTRA_WHITESPACES, True))
        self.normalizer = self._model.name
        control = {pieces[id]: id for id, kind in enumerate(kinds) if kind == spm.CONTROL}
        self.unk_id = kinds.index(spm.UNKNOWN)
        self.bos_id = control.get(self._model.text(spm.BOS_PIECE, "<s>"), -1)
        self.eos_id = control.get(self._model.text(spm.EOS_PIECE, "</s>"), -1)
        self.pad_id = control.get(self._model.text(spm.PAD_PIECE, "<pad>"), -1)
        if self.bos_id < 0 or self.eos_id < 0:
            raise ValueError(
                say(
                    f"{file}: no control piece for the beginning or the end; use the model's own file",
                    f"{file}：缺少表示文本开头或结尾的控制词元；请使用随模型发布的文件",
                )
            )
        brackets = (id for id, piece in enumerate(pieces) if piece[-1] in ">]")
        symbols = {id for id in brackets if _control_like(pieces[id], kinds[id])}
        self.control_ids = frozenset(symbols | {self.unk_id, *control.values()})
        declared, *marks = (control.get(piece) for piece in CHARACTER_MODE)
        self.character_mode = None if declared is None else _both(marks, file)
        self._text_only = self._open(self._model.with_control(symbols))

    @classmethod
    def open(cls, file: str | Path) -> Tokenizer:
        """Reads a tokenizer.model; OSError when it cannot be read, ValueError when it cannot be used."""
        size_bytes = Path(file).stat().st_size
        if size_bytes > LARGEST_FILE_BYTES:
            raise ValueError(
                say(
                    f"{file}: {size_bytes:,} bytes are too many for a vocabulary; is it the right file?",
                    f"{file}：{size_bytes:,} 字节，作为词表过大；请确认文件是否正确",
                )
            )
        return cls(Path(file).read_bytes(), file=str(file))

    def encode(self, text: str, *, control: bool = False, by_character: bool = False) -> list[int]:
        """The ids of a text, in linear time; ValueError when it is not valid Unicode.

        `by_character=True` opens character mode: the id that opens it, then one id for each character, or its
        bytes if it has no piece of its own. Nothing is normalised there. ValueError: the vocabulary has no such
        mode. `control=True` is the published behaviour (the slow tokenizer of transformers 4.29.2): literals such
        as `<reserved_102>` become their ids, and a text is cut at <s>, </s> and <unk> into segments that
        are encoded one by one, each with a dummy prefix of its own.
        """
        _check_unicode(text)
        if by_character:
            return [self._opens_characters(), *self._one_by_one(text)]
        if not control:
            return list(self._text_only.encode(text))
        ids: list[int] = []
        for segment in filter(None, self._literals.split(text)):
            ids += [self._special[segment]] if segment in self._special else self._published.encode(segment)
        return ids

    def decode(self, ids: Iterable[int], *, control: bool = False) -> str:
        """The text of ids: what the pieces add, without the dummy prefix.

        Control pieces add nothing; what is not UTF-8 becomes U+FFFD, one for each maximal ill-formed part
        (Unicode 15, 3.9; the library writes one a byte). `control=True` is the published behaviour, which
        writes them out and puts a space before <s>, </s> and <unk>.
        """
        if control:
            return self._decode_published([id for id in ids if 0 <= id < self.size])
        parts, opening = [], True
        for id in ids:
            part, opening = self.added_bytes(id, opening=opening)
            parts.append(part)
        return b"".join(parts).decode(errors="replace")

    def piece(self, id: int) -> str:
        """How the vocabulary writes the id, for people to look at; "" for a padding row."""
        return self._model.pieces[id] if 0 <= id < self.size else ""

    def piece_bytes(self, id: int) -> bytes:
        """What the id adds to a text, perhaps half a character; b"" for control pieces and padding rows."""
        if not 0 <= id < self.size:
            return b""
        kind = self._model.kinds[id]
        if kind == spm.BYTE:
            return bytes([int(self._model.pieces[id][3:5], 16)])  # <0x0A>
        if id == self.unk_id:
            return self._model.unk_surface
        return b"" if id in self.control_ids else self._model.pieces[id].replace(SPACE, " ").encode()

    def added_bytes(self, id: int, *, opening: bool) -> tuple[bytes, bool]:
        """What the id adds here, and whether the text is still at its opening, where the prefix is taken
        off.

        As SentencePieceProcessor::Decode does it: one leading space of the first piece that is not control;
        every leading space in a vocabulary that drops repeated spaces.
        """
        part = self.piece_bytes(id)
        if not opening or (self.character_mode and id == self.character_mode[0]):
            return part, False
        if (self.add_dummy_prefix or self._drops_spaces) and self.piece(id).startswith(SPACE):
            return part[1:], self._drops_spaces and not part[1:]
        return part, not part

    @cached_property
    def sha256(self) -> str:
        """Of the serialized model: which vocabulary this is."""
        return hashlib.sha256(self._model.wire).hexdigest()

    def _opens_characters(self) -> int:
        if self.character_mode is None:
            raise ValueError(
                say(
                    f"{self.file}: has no character mode; learn one with haina tokenizer train --characters",
                    f"{self.file}：没有逐字模式；请用 haina tokenizer train --characters 训练带逐字模式的词表",
                )
            )
        return self.character_mode[0]

    @cached_property
    def characters(self) -> dict[str, int]:
        """Character → its piece, for the characters that have one of their own."""
        kinds = self._model.kinds
        single = (id for id, piece in enumerate(self._model.pieces) if len(piece) == 1)
        own = {self.piece(id): id for id in single if kinds[id] in (spm.NORMAL, spm.USER_DEFINED)}
        return {" " if char == SPACE else char: id for char, id in own.items()}

    def _one_by_one(self, text: str) -> list[int]:
        ids: list[int] = []
        for char, id in zip(text, map(self.characters.get, text), strict=True):
            if id is None:
                ids += (self._byte_ids.get(byte, self.unk_id) for byte in char.encode())
            else:
                ids.append(id)
        return ids

    @cached_property
    def _byte_ids(self) -> dict[int, int]:
        found = (id for id, kind in enumerate(self._model.kinds) if kind == spm.BYTE)
        return {int(self.piece(id)[3:5], 16): id for id in found}

    @cached_property
    def _published(self) -> sentencepiece.SentencePieceProcessor:
        return self._open(self._model.wire)

    @cached_property
    def _special(self) -> dict[str, int]:
        return {self.piece(id): id for id in (self.unk_id, self.bos_id, self.eos_id)}

    @cached_property
    def _literals(self) -> re.Pattern[str]:
        return re.compile(f"({'|'.join(map(re.escape, self._special))})")

    def _open(self, wire: bytes) -> sentencepiece.SentencePieceProcessor:
        try:
            return sentencepiece.SentencePieceProcessor(model_proto=wire)
        except (RuntimeError, ValueError) as error:  # what its C++ exceptions become
            reason = " ".join(str(error).split())
            raise ValueError(
                say(
                    f"{self.file}: SentencePiece refuses it ({reason}); download tokenizer.model again",
                    f"{self.file}：SentencePiece 无法载入（{reason}）；请重新下载 tokenizer.model",
                )
            ) from None

    def _decode_published(self, ids: list[int]) -> str:
        """`convert_tokens_to_string` of the published code (baichuan-inc/Baichuan-7B@6f3ef46 `models/`)."""
        parts: list[str] = []
        for special, run in groupby(ids, lambda id: self.piece(id) in self._special):
            if special:
                parts[-1:] = [" ", *parts[-1:]] if parts else []  # before the segment: that is the quirk
                parts += map(self.piece, run)
            else:
                parts.append(self._published.decode(list(run)))
        return "".join(parts)


def _control_like(piece: str, kind: int) -> bool:
    if kind == spm.USER_DEFINED:
        return bool(BRACKETED.fullmatch(piece)) and not HTML.fullmatch(piece)
    return kind == spm.NORMAL and bool(RESERVED.fullmatch(piece))


def _both(marks: list[int | None], file: str) -> tuple[int, int]:
    """The ids that open and close character mode."""
    opens, closes = marks
    if opens is None or closes is None:
        raise ValueError(
            say(
                f"{file}: has {CHARACTER_MODE[0]} without {' and '.join(CHARACTER_MODE[1:])}; learn it again",
                f"{file}：有 {CHARACTER_MODE[0]}，却缺少 {'、'.join(CHARACTER_MODE[1:])}；请重新训练词表",
            )
        )
    return opens, closes


def _check_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        shown = (
            f"0x{code - 0xDC00:02X}" if 0xDC80 <= code <= 0xDCFF else f"U+{code:04X}"
        )  # surrogateescape, PEP 383
        raise ValueError(
            say(
                f"the text is not valid UTF-8: character {error.start + 1} is {shown}; save it as UTF-8",
                f"文本不是有效的 UTF-8：第 {error.start + 1} 个字符处有多余的 {shown}；请用 UTF-8 编码保存",
            )
        ) from None
