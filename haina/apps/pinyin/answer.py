"""What the verb and the route answer: candidates as records, and the lists of the user's words.

It does not know terminals nor HTTP.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from haina.apps.pinyin.decoder import Candidate
from haina.apps.pinyin.method import InputMethod
from haina.options.pinyin import PinyinOptions
from haina.wording import say

WITHOUT = "none"  # the name of no model


def opened(options: PinyinOptions, model: Path) -> InputMethod:
    """ValueError: a wrong name, or a file that cannot be opened."""
    if options.model == WITHOUT:
        ranker = None
    else:
        from haina.apps.pinyin.neural import Network

        ranker = Network.open(model).rank
    user = Path(options.user).expanduser() if options.user else None
    return InputMethod.open(scheme=options.scheme, fuzzy=options.fuzzy, user=user, ranker=ranker)


def lists(method: InputMethod, options: PinyinOptions) -> list[str]:
    """Take in and write out the lists that are asked for; returns what to tell. ValueError: there is no word file."""
    told = [method.user.recovered] if method.user and method.user.recovered else []
    if not (options.learn or options.export):
        return told
    if method.user is None:
        raise ValueError(
            say(
                "--learn and --export need a file of words; give --user FILE",
                "--learn 和 --export 需要个人词库；请给出 --user 文件",
            )
        )
    if options.learn:
        taken, skipped = method.user.load(Path(options.learn))
        told.append(
            say(
                f"{taken} words learnt, {skipped} lines that no keys spell",
                f"学习了 {taken} 个词，{skipped} 行无法拼出",
            )
        )
    if options.export:
        count = method.user.save(Path(options.export))
        told.append(say(f"{options.export}: {count} words", f"{options.export}：{count} 个词"))
    return told


def answer(method: InputMethod, keys: str, options: PinyinOptions) -> dict[str, list[dict[str, Any]]]:
    """{"candidates": [{"text", "score", "keys"}]}; of a context without keys, the words that may follow it.

    ValueError: neither, control characters, too many keys.
    """
    if not keys.strip() and options.context:
        return {"candidates": [record(each) for each in method.next_words(options.context, options.top)]}
    if not keys.strip():
        raise ValueError(say("no keys; type some, for example nihao", "没有按键；请输入拼音，例如 nihao"))
    return {"candidates": [record(each) for each in method.candidates(keys, options.context, options.top)]}


def answer_line(method: InputMethod, keys: str, options: PinyinOptions) -> dict[str, Any]:
    """The same for one line of many: what is wrong with it is its answer, and the next one is read."""
    try:
        return answer(method, keys, options)
    except ValueError as error:
        return {"candidates": [], "error": str(error)}


def record(candidate: Candidate) -> dict[str, Any]:
    return {"text": candidate.text, "score": round(candidate.score, 3), "keys": candidate.keys}
