"""Streams cut at every byte and token against the one-shot decode."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haina.text.stream import TextStream
from haina.text.tokenizer import Tokenizer

QUICK = settings(max_examples=120, deadline=None)
STOPS = st.lists(st.text("ab月🙂�", min_size=1, max_size=4), max_size=4)


def cut(text: str, stop: list[str]) -> str:
    """The slow definition: up to the stop string that is complete first, the longest of those."""
    for end in range(1, len(text) + 1):
        found = max((len(string) for string in stop if text.endswith(string, 0, end)), default=0)
        if found:
            return text[: end - found]
    return text


def byte_ids(tokenizer: Tokenizer, data: bytes) -> list[int]:
    zero = next(id for id in range(tokenizer.size) if tokenizer.piece(id) == "<0x00>")
    return [zero + byte for byte in data]


def check(tokenizer: Tokenizer, ids: list[int], stop: list[str]) -> None:
    stream, parts = TextStream(tokenizer, stop=stop), []
    whole = tokenizer.decode(ids)
    for id in ids:
        parts.append(stream.push(id))
        assert stream.text == "".join(parts) and whole.startswith(stream.text)
    stopped = stream.stopped
    parts.append(stream.close())
    assert "".join(parts) == stream.text == cut(whole, stop)
    assert stream.stopped == (stream.text != whole) and (stopped <= stream.stopped)


@QUICK
@given(st.data(), STOPS)
def test_any_ids(tiny: Tokenizer, data: st.DataObject, stop: list[str]) -> None:
    check(tiny, data.draw(st.lists(st.integers(-1, tiny.size + 3), max_size=30)), stop)


@QUICK
@given(st.text("ab月🙂� \u0301", max_size=16), STOPS)
def test_cut_at_every_byte_and_at_tokens(tiny: Tokenizer, text: str, stop: list[str]) -> None:
    check(tiny, byte_ids(tiny, text.encode()), stop)
    check(tiny, tiny.encode(text), stop)
    assert tiny.decode(byte_ids(tiny, text.encode())) == tiny.decode(tiny.encode(text)) == text


@QUICK
@given(st.text("ab月🙂� ", max_size=16))
def test_nothing_waits_without_need(tiny: Tokenizer, text: str) -> None:
    stream = TextStream(tiny)
    data = text.encode()
    for end, id in enumerate(byte_ids(tiny, data), start=1):
        stream.push(id)
        assert stream.text == data[:end].decode(errors="ignore")


@pytest.mark.parametrize(
    ("pushes", "stop", "given_out"),
    [
        (["ab", "c", "d"], ["abx"], ["", "abc", "d"]),  # held back, then let go whole
        (["a", "a", "a", "b", "."], ["aab"], ["", "", "a", "", ""]),  # the match begins inside an earlier try
        (["x", "\n", "\n", "U"], ["\n\nUser:", "###"], ["x", "", "", ""]),  # waits until close
    ],
)
def test_what_is_held_back(tiny: Tokenizer, pushes: list[str], stop: list[str], given_out: list[str]) -> None:
    stream = TextStream(tiny, stop=stop)
    for text, out in zip(pushes, given_out, strict=True):
        assert "".join(map(stream.push, byte_ids(tiny, text.encode()))) == out
    rest = stream.close()
    assert stream.text == cut("".join(pushes), stop) == "".join(given_out) + rest


def test_nothing_comes_after_a_stop(tiny: Tokenizer) -> None:
    stream = TextStream(tiny, stop=["。"])
    out = [stream.push(id) for id in tiny.encode("明月。故乡")]
    assert stream.stopped and "".join(out) == "明月" and stream.close() == ""


def test_half_a_character_at_the_end(tiny: Tokenizer) -> None:
    stream = TextStream(tiny)
    assert [stream.push(id) for id in byte_ids(tiny, "月🙂".encode()[:-1])] == ["", "", "月", "", "", ""]
    assert stream.close() == "�"


def test_long_stop_strings_are_linear(tiny: Tokenizer) -> None:
    stream = TextStream(tiny, stop=["a" * 20_000 + "b", "a" * 19_999 + "c"])
    for id in byte_ids(tiny, b"a" * 100_000):  # a search from each position would look 10^9 times
        stream.push(id)
    assert len(stream.text) == 80_000 and len(stream.close()) == 20_000


def test_an_empty_stop_string(tiny: Tokenizer) -> None:
    with pytest.raises(ValueError, match="a stop string is empty"):
        TextStream(tiny, stop=["", "a"])
