"""Resident memory of one process that holds a model: `python -m bench.memory SIDE PATH PROMPT CONTEXT THREADS`.

A process of its own for each figure, since a peak cannot be taken back. It feeds a prompt and makes one token, at the
end of a context whose keys and values have all been written (by the bench: reading 4,096 tokens would take minutes,
and leave the same memory behind), and prints /proc's own figures as JSON. Linux only.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

FIGURES = ("RssAnon", "RssFile", "VmRSS", "VmHWM")


def measure(side: str, path: Path, prompt: int, context: int, threads: int) -> dict[str, float]:
    """Bytes by the names of /proc/PID/status, of a child process that did the work."""
    arguments = [side, str(path.absolute()), *map(str, (prompt, context, threads))]
    command = [sys.executable, "-m", __name__, *arguments]
    root = Path(__file__).parents[1]
    child = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=root)
    found: dict[str, float] = json.loads(child.stdout)
    return found


def main(side: str, path: Path, prompt: int, context: int, threads: int) -> None:
    ids = [300 + i for i in range(prompt)]
    (_run_ours if side == "ours" else _run_theirs)(path, ids, context, threads)


def _print_status() -> None:
    text = Path("/proc/self/status").read_text()
    found = {name: re.search(rf"^{name}:\s+(\d+) kB", text, re.M) for name in FIGURES}
    print(json.dumps({name: 1024 * int(match.group(1)) for name, match in found.items() if match}))


def _run_ours(path: Path, ids: list[int], context: int, threads: int) -> None:
    from bench.ours import INT8_CACHE, Ours
    from haina.engine.scheduler import chunk_tokens

    ours = Ours(path, sequences=1, tokens=context, threads=threads, cache=INT8_CACHE)
    step = chunk_tokens(ours.checkpoint.config)
    for start in range(0, len(ids), step):
        ours.feed(ids[start : start + step], start)
    ours.fill_cache()
    ours.step(ids[:1], context - 1)
    _print_status()


def _run_theirs(path: Path, ids: list[int], context: int, threads: int) -> None:
    """As llama.cpp loads by default. Its cache is written when it is made."""
    from bench.peer import LOAD_DEFAULT, Peer

    with Peer(path, load=LOAD_DEFAULT) as model:
        theirs = model.context(sequences=1, tokens=context, threads=threads, cache="Q8_0")
        theirs.feed(ids, 0)
        theirs.step(ids[:1], len(ids))
        _print_status()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:]))
