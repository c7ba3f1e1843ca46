"""The bytes of a file → text: unpacked, in the encoding that fits, or Undecodable with the reason.

UTF-8 and UTF-16 show themselves. Of the Chinese encodings, each can be read as the other; the right one makes the
commonest characters out of the bytes (CHINESE_STOP_WORDS). For all others charset-normalizer guesses. It does not
know what files hold.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import zstandard
from charset_normalizer import from_bytes

from haina.data.filters import CHINESE_STOP_WORDS

SAMPLE_BYTES = 1 << 16
PACKED_BYTES = 1 << 13  # taken at a time: they may become 128 KB for every four
WINDOW_LOG = 27  # of zstd: 128 MB
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_WIDE = ("utf-16", "utf-32")
_CHINESE = ("gb18030", "big5")
_COMMON = 0.03  # of the characters that are not ASCII; in running text it is about a tenth
_DAMAGED = (EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError, gzip.BadGzipFile)


class Undecodable(Exception):
    """A file that is no text; the reason by name."""


@contextmanager
def opened(file: Path) -> Iterator[io.BufferedReader]:
    """The bytes that a packed file holds. Undecodable("truncated"): it is damaged."""
    try:
        with file.open("rb", buffering=0) as raw:
            yield _unpacked(io.BufferedReader(raw, SAMPLE_BYTES), file.suffix.lower())
    except _DAMAGED:
        raise Undecodable("truncated") from None
    except OSError as error:
        if error.errno is not None:  # the disk's, not the format's
            raise
        raise Undecodable("truncated") from None


def _unpacked(raw: io.BufferedReader, suffix: str) -> io.BufferedReader:
    if suffix == ".zst":
        return io.BufferedReader(_Zstd(raw), SAMPLE_BYTES)
    if suffix == ".gz":
        return io.BufferedReader(gzip.GzipFile(fileobj=raw), SAMPLE_BYTES)
    if suffix == ".bz2":
        return io.BufferedReader(bz2.BZ2File(raw), SAMPLE_BYTES)
    if suffix in (".xz", ".lzma"):
        return io.BufferedReader(lzma.LZMAFile(raw), SAMPLE_BYTES)
    return raw


class _Zstd(io.RawIOBase):
    """What zstd packed. The library's own reader takes a file that breaks off for one that ends."""

    def __init__(self, raw: io.BufferedReader):
        self._raw, self._rest, self._held = raw, b"", memoryview(b"")
        self._frame: zstandard.ZstdDecompressionObj | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        while not self._held:
            packed = self._rest or self._raw.read(PACKED_BYTES)
            if not packed:
                if self._frame:
                    raise EOFError
                return 0
            self._frame = self._frame or _unpacker().decompressobj()
            self._held, self._rest = memoryview(self._frame.decompress(packed)), self._frame.unused_data
            if self._frame.eof:
                self._frame = None
        size = min(len(into), len(self._held))
        into[:size], self._held = self._held[:size], self._held[size:]
        return size


def _unpacker() -> zstandard.ZstdDecompressor:
    return zstandard.ZstdDecompressor(max_window_size=1 << WINDOW_LOG)


@contextmanager
def as_text(file: Path) -> Iterator[TextIO]:
    """The file as text; bytes that do not fit its encoding are lone surrogates in it. Undecodable: why it is none."""
    with opened(file) as stream:
        name = encoding(stream.peek(SAMPLE_BYTES))
        yield io.TextIOWrapper(stream, name, "replace" if name in _WIDE else "surrogateescape")


def text_of(file: Path, most_chars: int) -> str:
    """All of it. Undecodable: it is more than most_chars, or no text."""
    with as_text(file) as stream:
        text = stream.read(most_chars + 1)
    if len(text) > most_chars:
        raise Undecodable("too_large")
    return text


def encoding(sample: bytes) -> str:
    """The encoding of the bytes that a file begins with. Undecodable: they are no text."""
    for mark, name in _MARKS:
        if sample.startswith(mark):
            return name
    if b"\0" in sample:
        raise Undecodable("binary")
    if _decoded(sample, "utf-8") is not None:
        return "utf-8"
    commonest = max(_CHINESE, key=lambda name: _common(_decoded(sample, name)))
    if _common(_decoded(sample, commonest)) > _COMMON:
        return commonest
    broken = sample.decode("utf-8", "replace").count("\ufffd")
    if broken < 0.01 * len(sample):  # UTF-8 with a few broken lines, which are dropped one by one
        return "utf-8"
    guess = from_bytes(sample).best()
    if guess is None or guess.encoding in ("utf_7", "ascii"):
        raise Undecodable("encoding")
    return guess.encoding


def _decoded(sample: bytes, name: str) -> str | None:
    """The text, but for a character that the sample's end cuts in two."""
    try:
        return codecs.getincrementaldecoder(name)().decode(sample)
    except UnicodeDecodeError:
        return None


def _common(text: str | None) -> float:
    wide = [char for char in text or "" if char > "\x7f"]
    return sum(char in CHINESE_STOP_WORDS for char in wide) / max(len(wide), 1)
