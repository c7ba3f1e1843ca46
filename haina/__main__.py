"""`haina`, and `python -m haina`: the program, and silence where it is interrupted before it has begun.

Importing the program takes a moment; Ctrl-C in it ends the process as Ctrl-C does later. It knows no verb.
"""

from __future__ import annotations

import sys

INTERRUPTED = 130  # exit status, as shells have it


def main() -> None:
    """Import the program and run it."""
    try:
        from haina.cli.program import main as program

        program()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
