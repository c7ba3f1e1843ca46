"""What is known of the language without a network: a word trigram and the words by their readings, in one mapped file.

The file is a safetensors one whose tensors are the arrays of haina/native/lattice.py, those that rise (RISING) as
steps; build.py makes it, README.md beside it names the sources. It does not know keys.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np

from haina.apps.pinyin.lexicon import BOUNDARY, LONGEST, NUMBER, OTHER, SPECIAL
from haina.checkpoint.raw import Stored
from haina.checkpoint.read_safetensors import file_header, read_safetensors
from haina.native.lattice import STEP, Prior, Trie
from haina.wording import say

FILE = Path(__file__).with_name("prior.safetensors")
CONTEXT = 16  # characters of the left context that are looked at
RISING = ("char_start", "context", "entry_start", "first", "pair_start", "triple_start")
_TYPES = {"U8": np.uint8, "U16": np.uint16, "U32": np.uint32}
_SEEN, _ODD = 20.0, np.uint64(0x9E3779B97F4A7C15)  # nats of a character that is no word


@dataclass(frozen=True)
class Language:
    """The trigram and the trie of its words; word numbers are those of both."""

    prior: Prior
    trie: Trie

    @classmethod
    def open(cls, file: Path = FILE) -> Language:
        """Map a file. ValueError: it is not there, or not one of ours."""
        if not file.is_file():
            raise ValueError(
                say(
                    f"{file} is missing; make it with python -m haina.apps.pinyin.build, or reinstall haina",
                    f"缺少 {file}；请用 python -m haina.apps.pinyin.build 生成，或重新安装 haina",
                )
            )
        stored = read_safetensors(file)
        wanted = [f"{part}.{name}" for part, kind in _PARTS for name in _arrays(kind)]
        if set(wanted) != set(stored):
            raise ValueError(
                say(
                    f"{file} is no prior of haina; reinstall haina",
                    f"{file} 不是 haina 的先验文件；请重新安装 haina",
                )
            )
        arrays = {name: _read(name, stored[name]) for name in wanted}
        prior = {name: arrays[f"prior.{name}"] for name in _arrays(Prior)}
        trie = {name: arrays[f"trie.{name}"] for name in _arrays(Trie)}
        return cls(Prior(**prior, boundary=BOUNDARY, other=OTHER), Trie(**trie))

    def save(self, file: Path) -> None:
        """Write it, the widest types first, so that every array lies at a multiple of its items."""
        parts = (
            (f"{part}.{name}", _steps(name, getattr(getattr(self, part), name)))
            for part, kind in _PARTS
            for name in _arrays(kind)
        )
        arrays = sorted(parts, key=lambda item: (-item[1].itemsize, item[0]))
        names = {kind: name for name, kind in _TYPES.items()}
        with file.open("wb") as out:
            out.write(file_header((name, names[array.dtype.type], array.shape) for name, array in arrays))
            for _, array in arrays:
                out.write(array.tobytes())

    def words(self, text: str) -> tuple[int, ...]:
        """The likeliest words of the end of a text: what a trigram looks at of the left context."""
        text = text[-CONTEXT:]
        best: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
        for end in range(1, len(text) + 1):
            pieces = [text[start:end] for start in range(max(0, end - LONGEST), end)]
            known = [
                (end - len(piece), number) for piece in pieces if (number := self.number(piece)) is not None
            ]
            ways = [(best[at][0] + self.prior.cost[n] * STEP, (*best[at][1], n)) for at, n in known]
            alone = (best[end - 1][0] + _SEEN, (*best[end - 1][1], _special(text[end - 1])))
            best.append(min([*ways, alone]))
        return best[-1][1][-2:]

    def number(self, word: str) -> int | None:
        """The number of a word; None: it is not one."""
        hashed = _hashes(np.frombuffer(word.encode("utf-16-le"), np.uint16), np.array([0, len(word)]))
        at = int(np.searchsorted(self._hashes[0], hashed[0]))
        if at < len(self._hashes[0]) and self._hashes[0][at] == hashed[0]:
            found = int(self._hashes[1][at])
            return found if self.trie.text(found) == word else None
        return None

    @cached_property
    def _hashes(self) -> tuple[np.ndarray, np.ndarray]:
        """Hashes of all words, ascending, and their numbers."""
        hashes = _hashes(self.trie.chars, self.trie.char_start.astype(np.int64))
        order = np.argsort(hashes)
        return hashes[order], order.astype(np.uint32)


def _hashes(chars: np.ndarray, start: np.ndarray) -> np.ndarray:
    lengths = np.diff(start)
    found = np.zeros(len(lengths), np.uint64)
    for at in range(int(lengths.max(initial=0))):
        on = lengths > at
        found[on] = (found[on] + chars[start[:-1][on] + at].astype(np.uint64) + np.uint64(1)) * _ODD
        found[on] ^= found[on] >> np.uint64(29)
    return found


def _special(char: str) -> int:
    if char.isdigit() or char in ".%":
        return NUMBER
    return OTHER if char.isalpha() else BOUNDARY


def _steps(name: str, array: np.ndarray) -> np.ndarray:
    """As it is stored: a rising array by its steps, which fit two bytes."""
    if name not in RISING:
        return array
    steps = np.diff(array, prepend=np.uint32(0))
    assert steps.max(initial=0) < 1 << 16, name
    return steps.astype(np.uint16)


def _read(name: str, tensor: Stored) -> np.ndarray:
    array: np.ndarray = tensor.data.view(_TYPES[tensor.dtype]).reshape(tensor.shape)
    return np.cumsum(array, dtype=np.uint32) if name.rpartition(".")[2] in RISING else array


def _arrays(kind: type) -> list[str]:
    """The fields that are arrays in a file."""
    return [field.name for field in fields(kind) if field.type == "np.ndarray"]


_PARTS = (("prior", Prior), ("trie", Trie))
assert SPECIAL[BOUNDARY] < SPECIAL[NUMBER] < SPECIAL[OTHER]
