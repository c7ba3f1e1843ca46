"""The threads behave: they sleep when there is nothing to do, survive fork, exit, and many callers at once."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from haina.native import kernels


@pytest.fixture
def work(matrix):
    """A multiplication that is worth sharing, and its result."""
    random = np.random.default_rng(5)
    w, x = (
        matrix(random.standard_normal((512, 256), np.float32), "F32"),
        random.standard_normal((8, 256), np.float32),
    )
    return w, x, kernels.matmul(w, x).tobytes()


def test_any_number_of_threads_and_callers(work) -> None:
    w, x, expected = work
    wrong: list[int] = []

    def caller() -> None:
        for n in range(100):
            if kernels.matmul(w, x, threads=1 + n % 5).tobytes() != expected:
                wrong.append(n)

    callers = [threading.Thread(target=caller) for _ in range(4)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join(60)
        assert not thread.is_alive()
    assert not wrong


def test_idle_threads_take_no_cpu(work) -> None:
    w, x, _ = work
    kernels.matmul(w, x, threads=4)
    time.sleep(0.05)
    before = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - before < 0.05


def test_threads_without_room_take_no_cpu(matrix) -> None:
    """Threads of an earlier call that may not help with this one sleep: they do not look for room all the while."""
    w, x = matrix(np.ones((2048, 4096), np.float32), "F32"), np.ones((1, 4096), np.float32)
    kernels.matmul(w, x, threads=9)

    def cpu_s(threads: int) -> float:
        time.sleep(0.01)
        start = time.process_time()
        for _ in range(20):
            kernels.matmul(w, x, threads=threads)
        return time.process_time() - start

    alone, two = (min(cpu_s(threads) for _ in range(5)) for threads in (1, 2))
    assert two < 3 * alone


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_makes_threads_of_its_own(work) -> None:
    w, x, expected = work
    kernels.matmul(w, x, threads=3)
    child = os.fork()
    if child == 0:
        os._exit(0 if kernels.matmul(w, x, threads=3).tobytes() == expected else 1)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert status == 0
            return
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    pytest.fail("the child hangs")


@pytest.mark.parametrize("end", ["pass", "sys.exit(0)", "os._exit(0)"])
def test_a_process_with_threads_ends(end) -> None:
    code = (
        "import os, sys, numpy as np; from haina.native import kernels; from haina.native.binding import Matrix\n"
        "w = Matrix.of(np.ones((512, 256), np.float32))\n"
        f"kernels.matmul(w, np.ones((4, 256), np.float32), threads=4); {end}"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
