"""What haina-brook reads: no row of a closed source, no held-out word, and rows that can be encoded."""

import json
from pathlib import Path

import pytest
import zstandard

from haina.data.brook import base, dictionaries, keys, sources, verse

CLOSED = "CLOSED"  # stands in every row of the small pack that must not come through


def put(file: Path, *rows: dict) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    wire = "".join(json.dumps(row) + "\n" for row in rows).encode()
    file.write_bytes(zstandard.compress(wire))


def text(source: str, words: str, **more: str) -> dict:
    return {"src": source, "title": "", "text": words, **more}


def talk(source: str, words: str) -> dict:
    messages = [{"role": "user", "content": words}, {"role": "assistant", "content": words}]
    return {"source": source, "messages": messages}


def poem(dynasty: str, form: str, first: str, author: str = "佚名") -> dict:
    return {
        "title": "题",
        "author": author,
        "dynasty": dynasty,
        "form": form,
        "lines": [first, "黄河入海流。"],
    }


@pytest.fixture
def pack(tmp_path: Path, data: Path) -> Path:
    """A data pack in small: open rows, and a closed one wherever one can stand."""
    (tmp_path / "sources.json").write_bytes((data / "sources.json").read_bytes())
    zh, en = tmp_path / "text_zh/train", tmp_path / "text_en/train"
    put(zh / "literature.jsonl.zst", text("novel", "话说天下大势"), text("essay", CLOSED),
        text("luxun", f"我有一壶酒〔2〕\n〔2〕{CLOSED} 今人的注"))  # fmt: skip
    put(
        zh / "articles.jsonl.zst", text("oiwiki", "二分查找"), text("goldminer", CLOSED), text("lctt", CLOSED)
    )
    put(zh / "misc.jsonl.zst", text("drcd", "北京是中国的首都"), text("c3", CLOSED), text("review", CLOSED))
    put(zh / "law.jsonl.zst", text("laws", "第一条"))
    put(zh / "news.jsonl.zst", text("xwlb", CLOSED))
    put(zh / "classical_modern_pairs.jsonl.zst", {"title": "论语", "pairs": [["学而时习之。", CLOSED]]})
    put(en / "books.jsonl.zst", text("books", "It was a dark night."))
    put(en / "textbooks.jsonl.zst", text("openstax:x", "A cell.", lic="CC BY 4.0"),
        text("openstax:y", CLOSED, lic="CC BY-NC-SA 4.0"))  # fmt: skip
    put(en / "misc.jsonl.zst", text("factbook", "Kenya"), text("brown", CLOSED), text("lctt-en", CLOSED))
    put(tmp_path / "chat/train/sft_zh.jsonl.zst", talk("kdconv", "你好"), talk("moss", CLOSED),
        talk("alpaca_zh", CLOSED), talk("sharegpt_zh", f"{CLOSED} 我是ChatGPT"))  # fmt: skip
    put(
        tmp_path / "chat/train/sft_en.jsonl.zst",
        talk("rasbt", "Hello"),
        talk("llamafactory_alpaca_en_demo", CLOSED),
    )
    put(tmp_path / "poetry/train/poems.jsonl.zst", poem("唐", "五绝", "白日依山尽，"), poem("明", "五绝", CLOSED),
        poem("元", "七绝", CLOSED), poem("清", "杂言", CLOSED), poem("清", "词", "人生若只", "纳兰性德"))  # fmt: skip
    put(tmp_path / "dict/train/cedict.jsonl.zst",
        {"word": "苹果", "trad": "蘋果", "pinyin": "ping2 guo3", "defs": ["apple"]})  # fmt: skip
    synset = {"pos": "n", "examples": [], "defs": ["a fruit"]}
    put(tmp_path / "dict/train/wordnet_en.jsonl.zst", {**synset, "words": ["apple"]},
        {**synset, "words": ["foxy", "tricksy"], "defs": [CLOSED]})  # fmt: skip
    put(tmp_path / "eval/revdict/hill_unseen_500.jsonl.zst", {"word": "tricksy"})
    put(
        tmp_path / "pinyin/char_pinyin.jsonl.zst",
        *({"char": c, "usual": p} for c, p in zip("话说", ("huà", "shuō"), strict=True)),
    )
    put(tmp_path / "pinyin/phrase_pinyin.jsonl.zst", {"word": "天下大势", "pinyin": "tiān xià dà shì"})
    return tmp_path


def test_no_closed_row_comes_through(pack: Path) -> None:
    rows = list(base.base(pack, "train"))
    assert CLOSED not in json.dumps(rows, ensure_ascii=False)
    assert {row["source"] for row in rows} >= {
        "novel", "luxun", "oiwiki", "drcd", "laws", "classical-modern", "books", "openstax:x", "factbook",
        "kdconv", "rasbt", "poems", "cedict", "wordnet",
    }  # fmt: skip
    assert all(row["licence"] and row["domain"] and row["weight"] > 0 for row in rows)
    assert len({row["id"] for row in rows}) == len(rows)


def test_a_closed_source_cannot_be_asked_for(pack: Path) -> None:
    with pytest.raises(ValueError, match="goldminer is not openly licensed"):
        list(sources.prose(pack, "text_zh", "articles", "train", frozenset({"oiwiki", "goldminer"})))
    with pytest.raises(ValueError, match="no text_zh source diary"):
        list(sources.prose(pack, "text_zh", "articles", "train", frozenset({"diary"})))


def test_every_source_of_the_tables_is_open(data: Path) -> None:
    named = [(folder, source) for _, folder, _, weights in base.PROSE for source in weights]
    for kind, source in [*named, *(("chat", source) for source in base.CHAT)]:
        assert sources.terms(data, kind, source).open is not False, source


def test_keys_are_the_readings_of_what_they_mean(pack: Path) -> None:
    readings = keys.Readings.of(pack)
    assert readings("话说天下大势") == ["hua", "shuo", "tian", "xia", "da", "shi"]
    assert readings("话说龘") is None
    assert [keys.typed(s) for s in ("lǜ", "nǚ", "ńg", "ér")] == ["lv", "nv", "ng", "er"]


def test_tones_are_marked_where_gb_t_16159_wants_them() -> None:
    written = ["ping2 guo3", "Bei3 jing1", "lu:4 se4", "liu2 shui3", "zhe4 r5", "gou3", "xiong2"]
    assert [dictionaries.marked(w) for w in written] == [
        "píngguǒ", "Běi jīng".replace(" ", ""), "lǜsè", "liúshuǐ", "zhèr", "gǒu", "xióng",
    ]  # fmt: skip


def test_verse_is_printed_by_sentences() -> None:
    assert verse.sentences(["白日依山尽，", "黄河入海流。", "问君何事？。"]) == [
        "白日依山尽，黄河入海流。",
        "问君何事？",
    ]
