"""The input method as a whole: what people type and what they mean, and keys that mean nothing."""

import json
import subprocess
import sys

import pytest

from haina.apps.pinyin.decoder import MOST_KEYS
from haina.apps.pinyin.method import InputMethod, spelling
from haina.apps.pinyin.prior import FILE

pytestmark = pytest.mark.skipif(
    not FILE.is_file(), reason="the prior is not built: python -m haina.apps.pinyin.build"
)


@pytest.fixture(scope="module")
def method() -> InputMethod:
    return InputMethod.open()


def texts(method: InputMethod, keys: str, context: str = "", top: int = 10) -> list[str]:
    return [candidate.text for candidate in method.candidates(keys, context, top)]


@pytest.mark.parametrize(
    ("keys", "meant"),
    [
        ("nihaoshijie", "你好世界"), ("xi'an", "西安"), ("zhongguorenmin", "中国人民"), ("wobuzhid", "我不知道"),
        ("nihao,shijie!", "你好，世界！"), ("nvren", "女人"), ("zhongguolvyou", "中国旅游"),
        ("women3", "我们3"), ("women", "我们"),
        ("woyaomaiiPhone", "我要买iPhone"), ("wofaemailgeini", "我发email给你"), ("APPhenhao", "APP很好"),
    ],
)  # fmt: skip
def test_the_first_candidate(method: InputMethod, keys: str, meant: str) -> None:
    assert texts(method, keys)[0] == meant


@pytest.mark.parametrize(
    ("keys", "meant"),
    [
        ("zgrm", "中国人民"),
        ("bj", "北京"),
        ("womne", "我们"),
        ("zhonggou", "中国"),
    ],
)
def test_among_the_candidates(method: InputMethod, keys: str, meant: str) -> None:
    assert meant in texts(method, keys)


def test_left_context_counts(method: InputMethod) -> None:
    assert texts(method, "shi", "我们都")[0] == "是"
    assert texts(method, "shi", "一九四九年十月一日下午三")[0] in "时是"
    alone, behind = (method.candidates("qi", context)[0].score for context in ("", "今天天"))
    assert behind != alone


def test_a_partial_choice_ranks_the_rest_anew(method: InputMethod) -> None:
    typing = method.compose()
    typing.type("beijingshijian")
    first = next(word for word in typing.words(50) if word.text == "背景")
    typing.choose(first)
    assert typing.text == "背景" and typing.keys == "shijian"
    assert typing.candidates(1)[0].keys == len("shijian")
    typing.backspace()
    assert typing.keys == "shijia"
    for _ in range(7):
        typing.backspace()
    assert (typing.text, typing.keys) == ("", "beijingshijian")


def test_typing_on_gives_what_typing_at_once_gives(method: InputMethod) -> None:
    keys = "womenmingtianqubeijing"
    typing = method.compose()
    for key in keys:
        typing.type(key)
        typing.candidates()
    assert [c.text for c in typing.candidates()] == texts(method, keys)
    for _ in range(6):
        typing.backspace()
    assert [c.text for c in typing.candidates()] == texts(method, keys[:-6])


def test_what_may_come_next(method: InputMethod) -> None:
    assert method.next_words("我们")
    assert method.next_words("") == [] or all(word.text for word in method.next_words(""))


@pytest.mark.parametrize("keys", ["uuu", "1234", "ABC", "!!", "é", "'", "''ni''"])
def test_keys_that_are_no_pinyin_are_answered(method: InputMethod, keys: str) -> None:
    assert texts(method, keys)


def test_500_keys_without_a_break(method: InputMethod) -> None:
    keys = "nihaoshijie" * 46
    assert texts(method, keys, top=1) == ["你好世界" * 46]


@pytest.mark.parametrize(
    ("keys", "told"),
    [("ni\x00hao", r"U\+0000"), ("ni\nhao", r"U\+000A"), ("a" * (MOST_KEYS + 1), "break them")],
)
def test_keys_that_are_refused(method: InputMethod, keys: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        texts(method, keys)


def test_wrong_names_are_told_the_right_ones() -> None:
    with pytest.raises(ValueError, match="there are full"):
        spelling("wubi", "")
    with pytest.raises(ValueError, match="there are zh/z"):
        spelling("full", "x/y")
    assert spelling("full", "z/zh, n/l").fuzzy == {"zh/z", "n/l"}


def test_the_verb_answers_each_line_in_json() -> None:
    command = [sys.executable, "-m", "haina", "pinyin", "--model", "none", "--top", "3"]
    run = subprocess.run(command, input="nihao\n\nshijie\n", capture_output=True, text=True, check=True)
    answers = [json.loads(line) for line in run.stdout.splitlines()]
    assert [answer["candidates"][0]["text"] for answer in (answers[0], answers[2])] == ["你好", "世界"]
    assert [len(answer["candidates"]) for answer in answers] == [3, 0, 3]
    assert answers[1]["error"].startswith("no keys")
    foreseen = subprocess.run([*command, "", "--context", "我们", "--json"], capture_output=True, check=True)
    assert len(json.loads(foreseen.stdout)["candidates"]) == 3
