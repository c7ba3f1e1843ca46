"""simplified.txt again: python -m haina.apps.search.build, with OpenCC (Apache-2.0) installed.

Two lines: the traditional characters that OpenCC's t2s maps to one other character by themselves, and what they
become. Search compares characters, so phrases are of no concern. It knows nothing of searching.
"""

from __future__ import annotations

from pathlib import Path

from haina.text.normalize import simplified

TABLE = Path(__file__).with_name("simplified.txt")
HAN = (range(0x3400, 0x4DB6), range(0x4E00, 0xA000))


def main() -> None:
    pairs = [(chr(code), simplified(chr(code))) for codes in HAN for code in codes]
    pairs = [
        (char, other) for char, other in pairs if other != char and len(other) == 1 and ord(other) < 0x10000
    ]
    TABLE.write_text("".join(a for a, _ in pairs) + "\n" + "".join(b for _, b in pairs) + "\n", "utf-8")


if __name__ == "__main__":
    main()
