"""Read one JSON object from a file that anybody may have written.

Stricter than `json`: no duplicate keys (which of the two was meant?), no NaN or Infinity, no number beyond
64 bits, no endless nesting, and a limit on size. It does not know what the keys mean.
"""

from __future__ import annotations

import json
import math
import re
import stat
from pathlib import Path
from typing import Any

from haina.checkpoint.raw import unreadable
from haina.wording import say


def read_json_object(path: Path, *, limit_bytes: int = 16 << 20) -> dict[str, Any]:
    """The object in a JSON file. ValueError names the file and what is wrong with it."""
    try:
        info = path.stat()
        if not stat.S_ISREG(info.st_mode):
            raise ValueError(say(f"{path}: not a regular file", f"{path}：不是普通文件"))
        if info.st_size > limit_bytes:
            raise ValueError(
                say(
                    f"{path}: {info.st_size:,} bytes is too large here (at most {limit_bytes:,})",
                    f"{path}：{info.st_size:,} 字节，过大（至多 {limit_bytes:,} 字节）",
                )
            )
        text = path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from None
    return parse_json_object(text, str(path))


def parse_json_object(text: bytes, where: str) -> dict[str, Any]:
    """The object that `text` is; `where` names it in the ValueError."""
    try:
        value = json.loads(
            text.decode("utf-8-sig"),
            object_pairs_hook=_no_duplicates,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_float,
        )
    except RecursionError:
        raise _not_json(where, "nested too deeply", "嵌套过深") from None
    except json.JSONDecodeError as error:
        at, column = error.lineno, error.colno
        raise _not_json(
            where, f"line {at}, column {column}: {error.msg}", f"第 {at} 行第 {column} 列有语法错误"
        ) from None
    except UnicodeDecodeError as error:
        byte = error.start + 1
        raise _not_json(where, f"byte {byte} is not UTF-8", f"第 {byte} 个字节不是 UTF-8") from None
    except ValueError as error:  # our own
        why = " ".join(str(error).split())
        raise _not_json(where, why, why) from None
    if not isinstance(value, dict):
        found = type(value).__name__
        raise _not_json(
            where, f"an object {{...}} is needed, this is a {found}", f"应为对象 {{...}}，实为 {found}"
        )
    return value


def _not_json(where: str, en: str, zh: str) -> ValueError:
    return ValueError(
        say(
            f"{where}: not a usable JSON file: {en}; restore the original file",
            f"{where}：不是可用的 JSON：{zh}；请恢复原来的文件",
        )
    )


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(say(f"the key {key[:80]!r} occurs twice", f"键 {key[:80]!r} 出现了两次"))
        found[key] = value
    return found


def _integer(digits: str) -> int:
    if len(digits) > 20 or abs(int(digits)) >= 1 << 63:
        raise ValueError(say(f"the number {digits[:24]}... is too large", f"数字 {digits[:24]}... 过大"))
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits) if re.match(r"-?\d", digits) else math.nan
    if not math.isfinite(value):
        raise ValueError(say(f"{digits[:24]} is not a finite number", f"{digits[:24]} 不是有限的数"))
    return value
