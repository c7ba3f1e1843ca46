"""python -m haina.apps.search.pdf FILE: the text of a PDF on stdout, a form feed between pages.

A program of its own, since readers of PDF can be led to take all memory and never to end. Exit status 3: the reason
is on stderr. By pypdf. It knows nothing of searching.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from haina.wording import say

MOST_BYTES = 2 << 30  # of memory


def _limited() -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):  # Windows has no such thing
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))


def text_of(file: Path) -> str | None:
    """The text; None: a password is needed."""
    from pypdf import PdfReader

    reader = PdfReader(file)
    if reader.is_encrypted and not reader.decrypt(""):
        return None
    return "\f".join(page.extract_text() for page in reader.pages)


def main() -> None:
    _limited()
    text = text_of(Path(sys.argv[1]))
    if text is None:
        sys.stderr.write(say("needs a password", "需要密码"))
        sys.exit(3)
    sys.stdout.buffer.write(text.encode("utf-8", "replace"))


if __name__ == "__main__":
    main()
