"""Cleaning mends what is broken and leaves what is not."""

from __future__ import annotations

import json
import time
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haina.data.clean import clean
from haina.data.read import rows
from haina.text.normalize import sentences, simplified

BROKEN = [
    ("你好，世界！（“真的”——吗？）…《书》", "你好，世界！（“真的”——吗？）…《书》"),
    ("ＧＤＰ增长６．５％，共１２３亿元", "GDP增长6.5％，共123亿元"),
    ("　　第一段。\r\n　　第二段。\r", "第一段。\n第二段。"),
    ("    if x:\n\treturn  1\n", "if x:\n\treturn  1"),  # code keeps its spaces but for the text's own edges
    ("a\x00b\u200bc\ufeffd\u202ee\x07f\xadg", "abcdefg"),
    ("一\u3000二\xa0三\u2003四", "一 二 三 四"),
    ("行一  \n\n\n\n行二\t\n", "行一\n\n行二"),
    ("e\u0301 \ufa19", "é 神"),  # NFC: composed, and compatibility ideographs
    ("AT&amp;T &quot;研究&quot; &#20013;&#x6587; 5 &gt; 3", 'AT&T "研究" 中文 5 > 3'),
    ("&amp;amp;lt;b&amp;amp;gt;", "<b>"),
    ("<p>写作 &lt;div&gt; 的时候</p>", "<p>写作 &lt;div&gt; 的时候</p>"),  # a text about HTML means them
    ("R&D；x&y", "R&D；x&y"),
    ("l\u2019\u00e9t\u00e9 na\u00efve", "l\u2019été naïve"),
    ("The Mona Lisa doesnÃ¢â‚¬â„¢t have eyebrows.", "The Mona Lisa doesn’t have eyebrows."),
    ("好\ud83d\ude00好\ud800", "好😀好\ufffd"),
    ("👨\u200d👩\u200d👧", "👨\u200d👩\u200d👧"),
    ("", ""),
]
GBK = ["是的，我们来了！", "模型，数据，算力"]


@pytest.mark.parametrize(("text", "expected"), BROKEN)
def test_what_is_mended(text: str, expected: str) -> None:
    assert clean(text) == expected


@pytest.mark.parametrize("text", GBK)
def test_utf8_read_as_gbk_is_read_again(text: str) -> None:
    broken = text.encode().decode("gb18030")
    assert broken != text
    assert clean(broken + "\n其余") == text + "\n其余"


@given(st.text())
@settings(max_examples=300, deadline=None, derandomize=True)
def test_what_is_clean_stays(text: str) -> None:
    once = clean(text)
    assert clean(once) == once


def test_real_texts_hardly_change(data: Path) -> None:
    texts = [row["text"] for row in islice(rows(data / "text_zh/train/news.jsonl.zst"), 100)]
    for text in texts:
        before, after = (
            Counter(c for c in t if c in "，。！？：；“”（）《》、") for t in (text, clean(text))
        )
        assert before == after


def test_traditional_becomes_simplified_only_if_asked() -> None:
    traditional = "繁體中文與頭髮、乾燥"
    assert clean(traditional) == traditional
    assert clean(traditional, script="simplified") == simplified(traditional) == "繁体中文与头发、干燥"


def test_sentences() -> None:
    text = "他说：“走吧！”然后走了……\n第二行。Dr. Li paid $3.5 for it. Done?  yes"
    assert sentences(text) == [
        "他说：“走吧！”", "然后走了……", "第二行。", "Dr.", "Li paid $3.5 for it.", "Done?", "yes",
    ]  # fmt: skip
    assert sentences("") == []


@pytest.mark.parametrize(
    "unit", ["\x00\xff\xfe", "&amp;", "\ud800", "a@", "1", "锛", "Ã¢", "\u3000\n", " ", "&#38;"]
)
def test_long_lines_take_linear_time(unit: str) -> None:
    def seconds(count: int) -> float:
        start = time.process_time()
        clean(unit * count)
        return time.process_time() - start

    seconds(1000)
    assert seconds(400_000) < 40 * (seconds(20_000) + 0.05)


def test_json_of_any_clean_text_is_utf8() -> None:
    assert json.dumps(clean("\ud800x\udfff"), ensure_ascii=False).encode()
