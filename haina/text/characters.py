"""The characters that a vocabulary with character mode gives pieces of their own.

`common()` is the Table of General Standard Chinese Characters (通用规范汉字表, State Council of China, 2013): 8,105
characters, as marked in mozillazg/pinyin-data@82759f9 (MIT). It knows no vocabulary.
"""

from __future__ import annotations

import re
from pathlib import Path

from haina.wording import say

# 〇, the unified ideographs with their extensions A to H, and the compatibility ideographs (Unicode 15).
HAN = re.compile("[\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af]")


def common() -> str:
    return "".join((Path(__file__).with_name("common_characters.txt")).read_text("utf-8").split())


def asked_for(names: str) -> str:
    """The Han characters of `common` and of text files, whatever their format: names with commas between them.

    ValueError: a file is not UTF-8, or holds none.
    """
    found = [
        common() if name == "common" else _of_file(Path(name)) for name in filter(None, names.split(","))
    ]
    return "".join(sorted(set("".join(found))))


def _of_file(file: Path) -> str:
    try:
        found = HAN.findall(file.read_text("utf-8"))
    except UnicodeDecodeError:
        found = []
    if not found:
        raise ValueError(
            say(
                f"{file}: no Chinese characters in UTF-8; name a text with the characters, or common",
                f"{file}：没有 UTF-8 编码的汉字；请给出含有这些字的文本，或 common",
            )
        )
    return "".join(found)
