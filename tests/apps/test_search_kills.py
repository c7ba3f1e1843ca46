"""Killed, or without room, while it indexes: the index is consistent, no document is lost or doubled.

HAINA_TORTURE: 30 kills and not four.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from haina.apps.search.ingest import add, refresh
from haina.apps.search.store import Store
from haina.apps.search.terms import cut

KILLS = 30 if os.environ.get("HAINA_TORTURE") else 4
FILES = 300
INDEX = [sys.executable, "-m", "haina", "search", "add"]
CODE = """
import sys
from pathlib import Path
from haina.apps.search import extract, ingest, store, terms
ingest.COMMIT_CHARS = 2000
terms.cut("")
made = store.Store(Path(sys.argv[1]), new=True)
print(flush=True)
ingest.add(made, sys.argv[2])
"""


def checked(store: Store) -> None:
    """Every passage is found by its terms, nothing else is, and each text is its file's, once."""
    assert store._file.execute("pragma integrity_check").fetchall() == [("ok",)]
    store._file.execute("insert into words (words) values ('integrity-check')")
    expected: dict[str, int] = {}
    for (text,) in store._file.execute("select text from passages"):
        for term in set(cut(text)):
            expected[term] = expected.get(term, 0) + 1
    assert dict(store._file.execute("select term, doc from temp.vocabulary")) == expected
    for document in store.documents():
        assert store.text(document.path) == Path(document.path).read_text("utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "files"
    made.mkdir()
    for number in range(FILES):
        text = f"第{number}号文件。" + "春眠不觉晓，处处闻啼鸟。" * 30
        (made / f"{number}.txt").write_text(text, "utf-8")
    return made


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_killed_at_any_moment(tmp_path: Path, folder: Path) -> None:
    file, chance, partly = tmp_path / "killed.db", random.Random(9), 0
    for _ in range(KILLS):
        program = subprocess.Popen([sys.executable, "-c", CODE, file, folder], stdout=subprocess.PIPE)
        with program:
            assert program.stdout
            program.stdout.readline()
            time.sleep(chance.uniform(0, 0.3))
            program.send_signal(signal.SIGKILL)
        store = Store(file)
        checked(store)
        partly += 0 < len(store.documents()) < FILES
        if len(store.documents()) == FILES:  # all is done: another time from the beginning
            store.close()
            for part in tmp_path.glob("killed.db*"):
                part.unlink()
            continue
        store.close()
    assert partly, "no kill came while it indexed"
    store = Store(file, new=True)
    add(store, folder)
    assert len(store.documents()) == FILES
    checked(store)
    store.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte. Needs root, and a kernel that lets it mount."""
    place = tmp_path / "disk"
    place.mkdir()
    mounts = shutil.which("mount") and os.name == "posix" and os.geteuid() == 0
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "haina-test", str(place)]
    if not mounts or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("cannot mount a small disk")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_full_disk(small_disk: Path, folder: Path) -> None:
    file = small_disk / "search.db"
    (folder / "large.txt").write_text("".join(map(chr, range(0x4E00, 0x9F00))) * 9, "utf-8")
    done = subprocess.run([*INDEX, str(folder), "--index", str(file)], capture_output=True, text=True)
    assert done.returncode and "Traceback" not in done.stderr
    assert str(file) in done.stderr and "make room" in done.stderr
    store = Store(file)
    checked(store)
    store.close()


def test_a_disk_that_is_full_for_a_while(small_disk: Path, tmp_path: Path, folder: Path) -> None:
    file, filler = small_disk / "search.db", small_disk / "filler"
    few = tmp_path / "few"
    few.mkdir()
    for number in range(9):
        shutil.copy(folder / f"{number}.txt", few)
    store = Store(file, new=True)
    add(store, few)
    with filler.open("wb", buffering=0) as stream, pytest.raises(OSError):
        while True:
            stream.write(bytes(4096))
    (few / "more.txt").write_text("汉字" * 60_000, "utf-8")
    with pytest.raises(ValueError, match="make room"):
        refresh(store)
    checked(store)
    assert len(store.documents()) == 9
    filler.unlink()
    (few / "more.txt").write_text("汉字。", "utf-8")
    refresh(store)
    assert len(store.documents()) == 10
    checked(store)
    store.close()
