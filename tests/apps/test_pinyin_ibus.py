"""The input method in a real IBus under Xvfb, with a real `haina serve` behind it; skipped where Debian's are not."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

import haina.apps.pinyin

SYSTEM = "/usr/bin/python3"  # which has PyGObject
ENGINE = Path(haina.apps.pinyin.__file__).with_name("ibus.py")
CLIENT = Path(__file__).with_name("ibus_client.py")
TOOLS = ("xvfb-run", "dbus-run-session", "ibus-daemon")
SCRIPT = """
ibus-daemon --panel=disable --config=disable --emoji-extension=disable --daemonize && sleep 1
{python} {engine} & engine=$!
sleep 1.5
{python} {client} {keys}
kill $engine; ibus exit
"""


def has_gi() -> bool:
    asked = [SYSTEM, "-c", "import gi; gi.require_version('IBus', '1.0')"]
    return Path(SYSTEM).exists() and subprocess.run(asked, capture_output=True).returncode == 0


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Of a server that has the embedded model."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number = probe.getsockname()[1]
    home = os.environ | {"HAINA_HOME": str(tmp_path_factory.mktemp("home"))}
    server = subprocess.Popen([sys.executable, "-m", "haina", "serve", "--port", str(number)], env=home)
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{number}/readyz", timeout=1).close()
                break
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.1)
        yield number
    finally:
        server.terminate()
        server.wait(10)


@pytest.mark.skipif(
    not all(map(shutil.which, TOOLS)), reason="no IBus or Xvfb; apt-get install ibus xvfb dbus"
)
@pytest.mark.skipif(
    not has_gi(), reason="the system's Python has no IBus; apt-get install gir1.2-ibus-1.0 python3-gi"
)
@pytest.mark.parametrize(
    ("keys", "said"),
    [("n i h a o space", "你好"), ("n i h a o Return", "nihao"), ("w o m e n space comma", "我们，")],
)
def test_what_is_typed_is_committed(port: int, tmp_path: Path, keys: str, said: str) -> None:
    script = SCRIPT.format(python=SYSTEM, engine=ENGINE, client=CLIENT, keys=keys)
    home = {name: str(tmp_path) for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR")}
    environment = {
        **os.environ,
        **home,
        "HAINA_INPUT_URL": f"http://127.0.0.1:{port}/v1/input",
        "PYTHONPATH": "",
    }
    command = ["xvfb-run", "-a", "dbus-run-session", "--", "bash", "-c", script]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert run.stdout.strip().splitlines()[-1:] == [said], run.stderr
