"""`haina serve --check`: what the official clients expect, tried against a running server, whatever its model.

The tests run the same list, and it is the table of what is supported (`table`). Its clients: pip install
'haina[check]'. It does not know the server's code.
"""

from __future__ import annotations

import json
import sys
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

from haina.serve import checks_openai, checks_others
from haina.serve.checks import Target
from haina.wording import say

MARKS = ("<!-- python -m haina.serve.check docs/api.md docs/api.zh.md -->", "<!-- end -->")
CHECKS = [*checks_openai.CHECKS, *checks_others.CHECKS]


def table(head: Sequence[str] = ("client", "endpoint", "checked")) -> str:
    """Markdown: what is supported, endpoint by endpoint, in the order of the checks."""
    features: dict[tuple[str, str], list[str]] = {}
    for one in CHECKS:
        features.setdefault((one.dialect, one.endpoint), []).append(one.feature)
    rows = [
        f"| {dialect} | `{endpoint}` | {', '.join(names)} |"
        for (dialect, endpoint), names in features.items()
    ]
    return "\n".join([f"| {' | '.join(head)} |", "|---|---|---|", *rows]) + "\n"


def with_table(page: str) -> str:
    """A page with the table as it is now, where MARKS are; its head stays."""
    before, after = page.split(MARKS[0]), page.split(MARKS[1])
    head = before[1].strip().partition("\n")[0].strip("| ").split(" | ")
    return f"{before[0]}{MARKS[0]}\n{table(head)}{MARKS[1]}{after[1]}"


def check_server(address: str, key: str = "none", *, told: Callable[[str], None] = print) -> int:
    """Run all checks against a server, a line each; how many failed. ValueError: no server, or no clients here."""
    target = Target(address, _first_model(address, key), key)
    failed = 0
    try:
        for one in CHECKS:
            try:
                one.run(target)
                told(f"✓ {one.dialect:9} {one}")
            except ImportError as error:
                raise ValueError(
                    say(
                        f"--check needs the official clients ({error.name}): pip install 'haina[check]'",
                        f"--check 需要官方客户端（{error.name}）：pip install 'haina[check]'",
                    )
                ) from None
            except Exception as error:  # whatever a client may raise
                _stop_if_limited(error)
                failed += 1
                told(f"✗ {one.dialect:9} {one}: {type(error).__name__}: {' '.join(str(error).split())[:200]}")
    finally:
        target.close()
    passed = len(CHECKS) - failed
    told(say(f"{passed} of {len(CHECKS)} checks passed", f"{len(CHECKS)} 项检查，{passed} 项通过"))
    return failed


def _stop_if_limited(error: Exception) -> None:
    """ValueError where the server turned a check away for coming too often: then the others would tell nothing."""
    if 429 in (getattr(error, "status_code", None), getattr(error, "code", None)):
        raise ValueError(
            say(
                "--check: the server answers 429, for this key is limited, or its queue is full; "
                "use a key without per-minute and at-once",
                "--check：服务返回 429：此密钥有限额，或队列已满；请换用不含 per-minute 与 at-once 的密钥",
            )
        ) from error


def _first_model(address: str, key: str) -> str:
    request = urllib.request.Request(f"{address}/v1/models", headers={"authorization": f"Bearer {key}"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            name: str = json.load(answer)["data"][0]["id"]
            return name
    except (OSError, ValueError, LookupError) as error:
        _stop_if_limited(error)
        if getattr(error, "code", None) == 401:
            raise ValueError(
                say(
                    f"{address}: wants a key; set HAINA_API_KEY to one that it knows",
                    f"{address}：需要密钥；请用 HAINA_API_KEY 给出有效的密钥",
                )
            ) from None
        raise ValueError(
            say(
                f"{address}: no server of ours answers ({error}); start one: haina serve",
                f"{address}：没有可检查的服务（{error}）；请先启动：haina serve",
            )
        ) from None


if __name__ == "__main__":  # pages whose table is to be as it is now
    for name in sys.argv[1:]:
        Path(name).write_text(with_table(Path(name).read_text("utf-8")), "utf-8")
