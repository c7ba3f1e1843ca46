"""What is known of human verse, from poems: `python -m haina.apps.poem.build_lines DATA`.

Two files: `known.bin`, a filter of all lines, and `anthology.txt.xz`, poems by well-known poets to quote from. DATA
is a folder as haina-brook is trained on; only poems that its weights may see are taken (data/brook/sources.py).
"""

from __future__ import annotations

import lzma
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from haina.apps.poem.anthology import FILE, Source
from haina.apps.poem.known import FILE as KNOWN
from haina.apps.poem.known import Known
from haina.apps.poem.write import lines_of
from haina.data.brook.sources import poems

SHORTEST = 5  # characters: what is shorter, anybody says
FORMS = ("五绝", "七绝", "五律", "七律", "词")
OF_A_POET = 260  # poems, the first ones
POETS = """
李白 杜甫 王维 孟浩然 白居易 李商隐 杜牧 刘禹锡 王昌龄 岑参 高适 韩愈 柳宗元 韦应物 元稹 温庭筠 李贺
贾岛 张籍 刘长卿 王勃 骆宾王 陈子昂 张九龄 王之涣 许浑 罗隐 韦庄 李煜 晏殊 欧阳修 柳永 王安石 苏轼
黄庭坚 秦观 周邦彦 李清照 陆游 杨万里 范成大 辛弃疾 姜夔 吴文英 晏几道 贺铸 文天祥 元好问 高启 纳兰性德 王国维
林逋 梅尧臣 朱熹 陈与义 张炎
""".split()


def main(data: Path) -> None:
    rows = list(poems(data, "train"))
    lines = (line for row in rows for line in lines_of("".join(row["lines"])))
    Known.of(line for line in lines if len(line) >= SHORTEST).bits.tofile(KNOWN)
    chosen = sorted(_chosen(rows), key=lambda source: (source.author, source.title))
    text = "".join(f"{s.title}\t{s.author}\t{s.dynasty}\t{s.text}\n" for s in chosen)
    FILE.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))


def _chosen(rows: list[dict[str, Any]]) -> Iterator[Source]:
    left = dict.fromkeys(POETS, OF_A_POET)
    for row in rows:
        text = "".join(row["lines"])
        if row["form"] in FORMS and left.get(row["author"], 0) and len(text) <= 130 and "\t" not in text:
            left[row["author"]] -= 1
            yield Source(row["title"][:24].replace("\t", " "), row["author"], row["dynasty"], text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
