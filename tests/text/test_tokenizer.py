"""The tokenizer against published ids, and what users type against control pieces."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from haina.text.tokenizer import Tokenizer

LITERALS = ["<s>", "</s>", "<unk>", "<SEP>", "<reserved_102>", "<reserved_105>", "<0x0A>", "<h1>"]
TYPED = st.lists(
    st.sampled_from(LITERALS) | st.text("<>/s_ 0ａ＜＞\n月光a🙂\u0301", max_size=4), max_size=8
).map("".join)


def test_reference_values(fixture_folder: Path) -> None:
    tokenizer = Tokenizer.open(fixture_folder / "tokenizer.model")
    for case in json.loads((fixture_folder / "reference.json").read_text("utf-8"))["tokenizer"]:
        text, ids = case["text"], case["hf_ids"]
        assert tokenizer.encode(text, control=True) == ids
        assert tokenizer.decode(ids, control=True) == case["decoded"]
        if "<" in text:  # typed literals are text for us, and come back as they were typed
            assert tokenizer.decode(tokenizer.encode(text)) == text
        else:
            assert tokenizer.encode(text) == ids
            assert tokenizer.decode(ids) == case["decoded"]


def test_a_fixture_is_described(fixture_folder: Path) -> None:
    tokenizer = Tokenizer.open(fixture_folder / "tokenizer.model")
    assert (tokenizer.size, tokenizer.normalizer, tokenizer.add_dummy_prefix) == (1300, "nmt_nfkc", True)
    assert (tokenizer.unk_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id) == (0, 1, 2, -1)
    assert tokenizer.control_ids == {0, 1, 2, 3, 4, *range(100, 393)}


@pytest.mark.parametrize("name", ["baichuan_7b_tokenizer.rebuilt", "baichuan_13b_tokenizer.rebuilt"])
def test_the_real_vocabulary(data: Path, name: str) -> None:
    tokenizer = Tokenizer.open(data / "baichuan" / f"{name}.model")
    assert tokenizer.size == 64000
    assert tokenizer.encode("<reserved_102>", control=True) == [31106, 195]  # quoted in public code
    assert 195 not in tokenizer.encode("<reserved_102>")
    html = "<h1>海纳百川</h1>\n\t１２３"
    assert tokenizer.encode(html) == tokenizer.encode(html, control=True)


def test_llama_vectors(data: Path) -> None:
    tokenizer = Tokenizer.open(data / "baichuan" / "llama2_tokenizer.model")
    texts = (
        (data / "baichuan" / "ggml-vocab-llama-spm.inp").read_text("utf-8").split("\n__ggml_vocab_test__\n")
    )
    lines = (data / "baichuan" / "ggml-vocab-llama-spm.out").read_text("utf-8").split("\n")
    assert len(texts) > 40
    for text, line in zip(texts, lines, strict=False):
        assert tokenizer.encode(text) == [int(id) for id in line.split()]


def test_a_real_file_with_2310_symbols(data: Path) -> None:
    tokenizer = Tokenizer.open(data / "baichuan" / "baichuan_m1_tokenizer.model")
    assert tokenizer.size == 133120 and not tokenizer.add_dummy_prefix
    code = "def f():\n\treturn 1\n\n\n// ----------\r\n<br/>"
    assert tokenizer.encode(code) == tokenizer.encode(code, control=True)
    assert tokenizer.decode(tokenizer.encode(code)) == code


@settings(max_examples=150, deadline=None)
@given(TYPED)
def test_no_text_reaches_a_control_piece(tiny: Tokenizer, nfkc: Tokenizer, typed: str) -> None:
    assert tiny.control_ids.isdisjoint(tiny.encode(typed))
    assert nfkc.control_ids.isdisjoint(nfkc.encode(typed))
    assert tiny.decode(tiny.encode(typed)) == typed


def test_folding_does_not_smuggle_a_role_in(nfkc: Tokenizer) -> None:
    role = nfkc.encode("<reserved_102>", control=True)[-1]
    folded = "＜ｒｅｓｅｒｖｅｄ＿１０２＞"
    assert role in nfkc.control_ids and role in nfkc.encode(
        folded, control=True
    )  # the published tokenizer falls for it
    assert role not in nfkc.encode(folded)


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(exclude_characters="<▁", exclude_categories=["Cs"])))
def test_both_forms_agree_where_no_literal_is(tiny: Tokenizer, text: str) -> None:
    assert tiny.encode(text) == tiny.encode(text, control=True)
    assert tiny.decode(tiny.encode(text)) == text


@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize("prefix", [False, True])
def test_spaces_at_the_opening(learn: Callable[..., bytes], prefix: bool, every: bool) -> None:
    wire = learn(add_dummy_prefix=prefix, remove_extra_whitespaces=every)
    tokenizer, library = Tokenizer(wire), sentencepiece.SentencePieceProcessor(model_proto=wire)
    pool = [
        library.piece_to_id(piece)
        for piece in ("▁", "▁▁", "▁t", "月", "<s>", "<0x41>", "<0x20>", "<unk>", "\n")
    ]
    for one in pool:
        for two in pool:
            for three in pool:
                assert tokenizer.decode([one, two, three]) == library.decode([one, two, three])


def test_unigram_models_work(unigram_wire: bytes) -> None:
    tokenizer = Tokenizer(unigram_wire)
    typed = "<reserved_102>床前明月光</s>🙂"
    assert tokenizer.control_ids.isdisjoint(tokenizer.encode(typed))
    assert tokenizer.decode(tokenizer.encode(typed)) == typed


def test_what_pieces_add(tiny: Tokenizer) -> None:
    ids = tiny.encode("🙂")[-4:]
    assert b"".join(map(tiny.piece_bytes, ids)) == "🙂".encode() and tiny.piece(ids[0]) == "<0xF0>"
    role = tiny.encode("<reserved_102>", control=True)[-1]
    assert [
        tiny.piece_bytes(id) for id in (tiny.bos_id, tiny.eos_id, role, tiny.size, tiny.size + 40, -1)
    ] == [b""] * 6
    assert tiny.piece(role) == "<reserved_102>" and tiny.piece(tiny.size) == ""


def test_text_that_is_not_utf8(tiny: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    text = b"ab\xff".decode("utf-8", "surrogateescape")  # as it comes from a command line
    with pytest.raises(ValueError, match="character 3 is 0xFF"):
        tiny.encode(text)
    monkeypatch.setenv("HAINA_LANG", "zh_CN.UTF-8")
    with pytest.raises(ValueError, match="第 3 个字符处有多余的 0xFF"):
        tiny.encode(text, control=True)


@pytest.mark.parametrize("unit", ["a", "月光", " ", "the "])
def test_megabytes_without_a_seam(tiny: Tokenizer, unit: str) -> None:
    text = unit * (300_000 // len(unit))  # a quadratic step anywhere would take minutes
    assert tiny.decode(tiny.encode(text)) == text
