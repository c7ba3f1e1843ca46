"""How long a person waits, on this machine now: to the first token of an answer, and for each token after it.

Measured is a chat alone in the engine, sampling included. Other programs count: the machine is told beside the figures.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from haina.engine.request import Token
from haina.evaluate.interval import Estimate, typical
from haina.evaluate.subject import Progress, Subject
from haina.native.machine import usable_threads

DECODE_TOKENS = 64


def waits(subject: Subject, prompts: Sequence[str], progress: Progress) -> tuple[Estimate, Estimate]:
    """(seconds to the first token, tokens a second after it), each the median over the prompts."""
    firsts, paces = [], []
    for number, prompt in enumerate([prompts[0], *prompts]):  # the first warms up
        request = replace(subject.question(prompt, DECODE_TOKENS, seed=number), stop_ids=frozenset())
        times = [time.perf_counter()]
        subject.engine.add(request)
        while subject.engine.busy:
            times += [time.perf_counter() for event in subject.engine.step() if isinstance(event, Token)]
        if number and len(times) > 2:
            firsts.append(times[1] - times[0])
            paces.append((len(times) - 2) / (times[-1] - times[1]))
        progress(number, len(prompts))
    return typical(np.array(firsts)), typical(np.array(paces))


def machine() -> dict[str, Any]:
    """The processor, what may be used of it, and how busy it is."""
    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "processor": _processor(),
        "threads": usable_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "load": busy,
    }


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text("utf-8", "replace").splitlines() if file.is_file() else []
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
