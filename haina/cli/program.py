"""The program: run a verb, and turn what went wrong into one line and an exit status.

Whatever a person or a file can cause ends here as one line on stderr and exit status 2. It knows no model.
"""

from __future__ import annotations

import contextlib
import os
import sys

import typer

from haina.apps.screen import complain, explained, interactive
from haina.cli import (  # each brings its verbs
    corpus,
    data,
    evaluation,
    models,
    pinyin,
    poem,
    search,
    talk,
    words,
)
from haina.cli.app import app
from haina.flags import usage
from haina.wording import say

VERBS = (talk, models, poem, pinyin, words, search, corpus, data, evaluation)  # in the order of the help
app.registered_commands.sort(
    key=lambda verb: [module.__name__ for module in VERBS].index(verb.callback.__module__)
)
REFUSED = 2  # exit status; Typer makes Ctrl-C 130


def main() -> None:
    """The program: run a verb, and turn what went wrong into one line and an exit status."""
    if sys.stdout is None:
        complain(
            say(
                "stdout is closed, so that nothing can be said; redirect it, for example: > answer.txt",
                "标准输出已关闭，结果无处可写；请改用重定向，例如 > answer.txt",
            )
        )
        sys.exit(REFUSED)
    if "train" in sys.argv or "_HAINA_COMPLETE" in os.environ:  # many flags, which --help need not know
        # torch's threads wait for each other without a core
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        from haina.cli import training, tuning  # noqa: F401
    if not interactive(sys.stdout):
        sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    try:
        sys.exit(app(prog_name="haina", standalone_mode=False))
    except typer.TyperException as error:
        complain(usage(error))
    except (ValueError, OSError, MemoryError) as error:
        complain(explained(error))
    _forget_stdout()
    sys.exit(REFUSED)


def _forget_stdout() -> None:
    """What is still buffered for a full disk or a closed pipe must not fail again when Python ends."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
