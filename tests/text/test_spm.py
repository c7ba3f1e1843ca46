"""Hostile tokenizer.model files: used or refused with one line, never a crash.

`HAINA_FUZZ=10000 pytest tests/text/test_spm.py` runs that many mutations; run as a program, this file is the
child process that opens them.
"""

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from haina.text import spm
from haina.text.tokenizer import Tokenizer

TEXT = "Hello, 世界 ＡＢＣ ℃ ½ …… <reserved_102> e\u0301 🙂 \0 ﷺ" + "".join(map(chr, range(0x80, 0x2000, 9)))


def varint(value: int) -> bytes:
    return bytes([value]) if value < 0x80 else bytes([value & 0x7F | 0x80]) + varint(value >> 7)


def field(tag: int, value: spm.Value) -> bytes:
    return varint(tag) + (varint(value) if isinstance(value, int) else varint(len(value)) + value)


def piece(text: bytes, *more: bytes) -> bytes:
    return field(spm.PIECE, field(spm.TEXT, text) + b"".join(more))


def with_charsmap(wire: bytes, charsmap: bytes) -> bytes:
    """Protobuf merges a second normalizer spec into the first."""
    return wire + field(spm.NORMALIZER, field(spm.CHARSMAP, charsmap))


def trie(units: dict[int, int], results: bytes = b"x\0", blocks: int = 1) -> bytes:
    array = np.zeros(256 * blocks, "<u4")
    array[list(units)] = list(units.values())
    return (4 * len(array)).to_bytes(4, "little") + array.tobytes() + results


def test_a_model_is_what_its_fields_say(plain_wire: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    model = spm.read(plain_wire, "m")
    assert model.pieces[:5] == ["<unk>", "<s>", "</s>", "<SEP>", "\n"] and model.kinds[:4] == bytes(
        [2, 3, 3, 4]
    )
    assert model.pieces[-1] != "" and model.name == "identity"
    monkeypatch.setattr(spm, "_plain_pieces", lambda wire: ([], [], bytearray(), [], 0))
    assert spm.read(plain_wire, "m") == model  # the fast way and the general one


def test_only_the_chosen_pieces_change(plain_wire: bytes) -> None:
    before = spm.read(plain_wire, "m")
    after = spm.read(before.with_control([3, 280]), "m")
    assert after.pieces == before.pieces and (after.trainer, after.normalizer) == (
        before.trainer,
        before.normalizer,
    )
    assert [id for id, kind in enumerate(after.kinds) if kind != before.kinds[id]] == [3, 280]
    assert before.with_control([]) == plain_wire


def test_the_order_of_fields_does_not_matter(plain_wire: bytes) -> None:
    odd = field(
        spm.PIECE, field(spm.KIND, spm.USER_DEFINED) + b"\x15\0\0\0\0" + field(spm.TEXT, "〇〇".encode())
    )
    tokenizer = Tokenizer(odd + plain_wire)
    assert tokenizer.piece(0) == "〇〇" and tokenizer.encode("〇〇")[-1] == 0


LOOP = {0: 0, ord("q"): ord("q") << 10 | ord("q")}  # q leads to where it came from
DAMAGED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda wire: b"", "holds no pieces"),
    "text": (lambda wire: b"just some text, no protobuf", "cut off at byte"),
    "truncated": (lambda wire: wire[:-1], "cut off at byte"),
    "length beyond the end": (lambda wire: b"\x0a\xff\xff\xff\xff\x7f" + wire, "cut off at byte"),
    "endless number": (lambda wire: b"\x0a" + b"\xff" * 20, "a number is cut off"),
    "a git-lfs pointer": (
        lambda wire: b"version https://git-lfs.github.com/spec/v1\n",
        "begins no protobuf field",
    ),
    "second unknown": (
        lambda wire: wire + piece(b"<unk2>", field(spm.KIND, spm.UNKNOWN)),
        "2 unknown pieces",
    ),
    "unknown type": (lambda wire: wire + piece(b"x", field(spm.KIND, 9)), "unknown type 9"),
    "no UTF-8": (lambda wire: wire + piece(b"\xff"), "piece 480 is not UTF-8"),
    "empty piece": (lambda wire: wire + piece(b""), "piece 480 is empty"),
    "NUL": (
        lambda wire: wire + piece(b"a\0b", field(spm.KIND, spm.USER_DEFINED)),
        "piece 480 is empty or holds a NUL",
    ),
    "duplicate": (lambda wire: wire + piece(b"<s>", field(spm.KIND, spm.CONTROL)), "already defined"),
    "reachable control": (
        lambda wire: wire + piece(b"q", field(spm.KIND, spm.CONTROL)),
        "control piece 480 'q'",
    ),
    "score": (lambda wire: wire + piece(b"qq", b"\x15\0\0\xc0\x7f"), "not a finite number"),
    "word model": (lambda wire: wire + field(spm.TRAINER, field(spm.MODEL_TYPE, 3)), "model type 3"),
    "no end": (
        lambda wire: wire + field(spm.TRAINER, field(spm.EOS_PIECE, b"nowhere")),
        "no control piece for",
    ),
    "nested": (
        lambda wire: wire + b"".join(piece(b"q" * n, b"\x18\x04") for n in range(2, 99)),
        "more than 64",
    ),
    "trie size": (
        lambda wire: with_charsmap(wire, b"\xff\xff\xff\x7f" + bytes(99)),
        "sizes in the character map",
    ),
    "trie end": (lambda wire: with_charsmap(wire, trie({}, b"xyz")), "sizes in the character map"),
    "trie step": (lambda wire: with_charsmap(wire, trie({0: 0x1FFFFF << 10})), "points outside itself"),
    "trie value": (
        lambda wire: with_charsmap(wire, trie({0: 1 << 8 | 1 << 10, 1: 1 << 31 | 99})),
        "outside its strings",
    ),
    "trie loop": (lambda wire: with_charsmap(wire, trie(LOOP)), "longer than 32 bytes"),
    "trie result": (lambda wire: with_charsmap(wire, trie({}, b"x" * 300 + b"\0")), "more than 256 bytes"),
}


@pytest.mark.parametrize("how", DAMAGED)
def test_damage_is_named(plain_wire: bytes, how: str) -> None:
    damage, says = DAMAGED[how]
    with pytest.raises(ValueError, match=says) as error:
        Tokenizer(damage(plain_wire), file="folder/tokenizer.model")
    assert str(error.value).startswith("folder/tokenizer.model: ") and "\n" not in str(error.value)


def test_a_file_that_cannot_be_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Tokenizer.open(tmp_path / "tokenizer.model")
    large = tmp_path / "tokenizer.model"
    with large.open("wb") as file:
        file.truncate(1 << 40)  # sparse: it must not be read
    with pytest.raises(ValueError, match="too many for a vocabulary"):
        Tokenizer.open(large)


def mutated(wire: bytes, seed: int) -> bytes:
    """Bytes changed, removed or put in, mostly in place: those models get furthest."""
    dice, out = random.Random(seed), bytearray(wire)
    for _ in range(dice.choice([1, 1, 2, 4, 16])):
        at = dice.randrange(len(out))
        how = dice.randrange(8)
        if how < 4:
            out[at] ^= 1 << dice.randrange(8)
        elif how < 6:
            out[at : at + 4] = dice.randbytes(4)
        elif how == 6:
            del out[at : at + dice.choice([1, 2, 50])]
        else:
            out[at:at] = dice.randbytes(dice.choice([1, 2, 50]))
    return bytes(out)


@pytest.mark.parametrize("kind", ["plain_wire", "nfkc_wire", "unigram_wire"])
def test_mutated_models_never_crash(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> None:
    count = int(os.environ.get("HAINA_FUZZ", "150")) // 3
    file = tmp_path / "tokenizer.model"
    file.write_bytes(request.getfixturevalue(kind))
    child = subprocess.run(
        [sys.executable, __file__, str(file), str(count)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60 + count // 10,
    )
    assert child.returncode == 0, child.stderr[-2000:]
    used, refused = map(int, child.stdout.split())
    assert used + refused == count and used > 0 and refused > 0


def _open_mutations(file: Path, count: int) -> None:
    """Prints how many models worked and how many were refused; anything else ends this process badly."""
    wire, used = file.read_bytes(), 0
    for seed in range(count):
        try:
            tokenizer = Tokenizer(mutated(wire, seed))
            assert tokenizer.control_ids.isdisjoint(set(tokenizer.encode(TEXT)) - {tokenizer.unk_id})
            tokenizer.decode(tokenizer.encode(TEXT, control=True), control=True)
            used += 1
        except ValueError as error:
            assert "\n" not in str(error), f"seed {seed}"
    print(used, count - used)


if __name__ == "__main__":
    _open_mutations(Path(sys.argv[1]), int(sys.argv[2]))
