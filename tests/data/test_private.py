"""What is personal is replaced; what only looks like it stays."""

from __future__ import annotations

import re
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haina.data.private import is_card, is_resident_id, redact
from haina.data.read import rows

PERSONAL = [
    ("请联系 zhang.san+tag@mail.pku.edu.cn。", "请联系 <EMAIL>。", "email"),
    ("邮箱：a_b-c%d@qq.com，谢谢", "邮箱：<EMAIL>，谢谢", "email"),
    ("电话13812345678。", "电话<PHONE>。", "phone"),
    ("手机：138-1234-5678", "手机：<PHONE>", "phone"),
    ("138 1234 5678", "<PHONE>", "phone"),
    ("+86 13812345678", "<PHONE>", "phone"),
    ("0086-19912345678,", "<PHONE>,", "phone"),
    ("身份证号11010519491231002X，", "身份证号<ID>，", "id"),  # the example of GB 11643
    ("440524188001010014", "440524188001010014", None),  # its other example: born before 1900
    ("卡号 4111 1111 1111 1111", "卡号 <CARD>", "card"),
    ("6222-0212-3456-7890-128", "<CARD>", "card"),
    ("5555555555554444", "<CARD>", "card"),
    ("3782 822463 10005", "<CARD>", "card"),
    ("服务器8.134.56.78宕机", "服务器<IP>宕机", "ip"),
    ("来自 2408:8207:2450::1f 的请求", "来自 <IP> 的请求", "ip"),
]
ORDINARY = [
    "11010519491231002x1",  # inside something longer
    "110105194912310021",  # the check character is wrong
    "110105194913310021",  # there is no thirteenth month
    "4111 1111 1111 1112",  # Luhn's sum is wrong
    "1234567890123456",  # nobody issues such cards
    "ISBN 978-7-302-53252-9，订单号9787302532529",
    "圆周率是3.14159265358979323846",
    "时间戳1609459200000，1609459200123456",
    "12812345678 和 138123456789 和 013812345678",
    "QQ群号1381234567",
    "A13812345678 x13812345678y 0.13812345678 13812345678.5",
    "2020-12-31 12:30:45 至 2021-01-01，共 1,234,567,890,123 元",
    "192.168.1.1、10.0.0.1、127.0.0.1、224.0.0.251、255.255.255.0、172.16.254.1",
    "版本 11.22.33.44，v11.22.33.44，第11.22.33.44节，3.2.1.1 小结",
    "std::vector<int>，a::b，2001:db8::1，fe80::1，12:30:45，2021:12:30 11:22:33",
    "300.1.2.3 与 1.2.3.4.5 与 11.22.33.44.55",
    "微博@张三，logo@2x.png，@types/node，git@github.com:user/repo，a@b，user@localhost",
    "2010 2011 2012 2013 2014",
    "\ud800@",
]


@pytest.mark.parametrize(("text", "expected", "kind"), PERSONAL)
def test_personal_data(text: str, expected: str, kind: str | None) -> None:
    assert redact(text) == (expected, Counter([kind] if kind else []))


@pytest.mark.parametrize("text", ORDINARY)
def test_near_misses(text: str) -> None:
    assert redact(text) == (text, Counter())


def test_checks() -> None:
    assert is_resident_id("34052419800101001X")
    assert not any(is_resident_id(f"34052419800101001{check}") for check in "0123456789")
    assert is_card("4111111111111111")
    assert not is_card("4111111111111117")


@given(st.text(alphabet="0123456789abcf.:@-+ X中。\n", max_size=60))
@settings(max_examples=500, deadline=None, derandomize=True)
def test_what_is_redacted_stays(text: str) -> None:
    once, _ = redact(text)
    assert redact(once) == (once, Counter())


def test_real_texts_have_few(data: Path) -> None:
    """News has none; in articles what is found has been looked at: contacts of authors."""
    found: Counter[str] = Counter()
    for row in islice(rows(data / "text_zh/train/news.jsonl.zst"), 1000):
        found += redact(row["text"])[1]
    assert not found


@pytest.mark.parametrize("unit", ["1", "a@", "a.", "1 ", "1.", "2001:", "a" * 63 + ".", "@a.", "4111 "])
def test_long_lines_are_no_trouble(unit: str) -> None:
    text, _ = redact(unit * 100_000)
    assert re.match(re.escape(unit[:1]) + "|<", text)
