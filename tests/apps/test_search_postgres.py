"""An index in PostgreSQL: a real server of one's own; the same passages as SQLite; no password in what is said."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from haina.apps.search.desk import Search, add_folders, contents, remove_folders
from haina.apps.search.ingest import add, refresh
from haina.apps.search.rank import Ranking
from haina.apps.search.store import Store
from haina.apps.search.terms import cut

psycopg = pytest.importorskip("psycopg")

from haina.apps.search.postgres import Postgres, lexemes, shown  # noqa: E402  (it imports psycopg)

Run = Callable[..., None]


def binaries() -> Path:
    """Where initdb is: Debian keeps it out of the PATH."""
    on_path = shutil.which("initdb")
    found = [Path(on_path).resolve()] if on_path else sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("no PostgreSQL here: apt-get install postgresql")
    return found[-1].parent


@pytest.fixture(scope="module")
def cluster() -> Iterator[tuple[str, Run]]:
    """The address of a server on a socket in a folder of its own, and what runs pg_ctl; never as root."""
    programs, folder = binaries(), Path(tempfile.mkdtemp(prefix="haina-pg-"))
    as_user = {}
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
        as_user = {"user": "postgres", "group": "postgres", "extra_groups": []}

    def run(program: str, *given: str) -> None:
        command = [str(programs / program), "-D", str(folder / "data"), *given]
        subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL, timeout=60, **as_user)  # type: ignore[call-overload]

    run("initdb", "-U", "haina", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C")
    hosts = folder / "data" / "pg_hba.conf"
    hosts.write_text("local all locked scram-sha-256\nlocal all all trust\n")
    start = (
        "-w",
        "-l",
        str(folder / "log"),
        "-o",
        f"-k {folder} -c listen_addresses='' -c fsync=off",
        "start",
    )
    run("pg_ctl", *start)
    try:
        yield f"postgresql://haina@/postgres?host={folder}", lambda *given: run("pg_ctl", *(given or start))
    finally:
        run("pg_ctl", "-w", "-m", "immediate", "stop")
        shutil.rmtree(folder)


@pytest.fixture
def address(cluster: tuple[str, Run]) -> str:
    with psycopg.connect(cluster[0], autocommit=True) as base:
        base.execute("drop schema if exists haina_search cascade")
    return cluster[0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "files"
    made.mkdir()
    return made


def whole(index: Postgres) -> bool:
    """Whether every passage has its terms, and the totals are those of what is there."""
    rows = index.rows("select text, size, terms::text from passages")
    counted = index.rows("select count(*), coalesce(sum(size), 0) from passages")
    return counted == index.rows("select * from totals") and all(
        size == len(cut(text)) and index._one("select %s::tsvector::text", lexemes(text)[1]) == terms
        for text, size, terms in rows
    )


def test_the_same_passages_as_sqlite(address: str, tmp_path: Path, data: Path) -> None:
    """Paragraphs and questions of Wikipedia; some asked for by one character, one text there twice."""
    zstandard = pytest.importorskip("zstandard")
    lines = [
        json.loads(line)
        for name in ("cmrc2018_dev", "xquad_en", "xquad_zh")
        for line in zstandard.open(
            data / "eval" / f"{name}_test_a.jsonl.zst", "rt", encoding="utf-8"
        ).readlines()[:60]
    ]
    texts = list(dict.fromkeys(line["context"] for line in lines))
    indexes = Store(tmp_path / "search.db", new=True), Postgres(address, new=True)
    for index in indexes:
        with index.writing():
            for number, text in enumerate([*texts, texts[0]]):
                index.put(str(number), "", text)
    ours, theirs = map(Ranking, indexes)
    for question in [line["question"] for line in lines[::6]] + ["山", "年 war", "the", "a b"]:
        found = ours.find(ours.question(question), 20)
        assert found and theirs.find(theirs.question(question), 20) == found
    indexes[1].close()


def test_it_follows_a_folder(address: str, folder: Path) -> None:
    (folder / "a.txt").write_text("山上有庙，庙里有三十六个和尚。", "utf-8")
    (folder / "b.txt").write_text("The bridge opened in 1937.", "utf-8")
    assert [change.read for change in add_folders([str(folder)], address)] == [2]
    answer = Search(address).ask("庙里有多少个和尚？")
    assert answer.found and answer.citations[0].quote == "山上有庙，庙里有三十六个和尚。"
    (folder / "a.txt").write_text("山上没有庙。" * 200, "utf-8")
    (folder / "b.txt").unlink()
    (change,) = add_folders([], address)
    assert (change.read, change.removed) == (1, 1)
    index = Postgres(address)
    document = index.documents(str(folder))[0].path
    text = index.text(document)
    assert text == "山上没有庙。" * 200 and whole(index) and index.frequency("bridg") == 0
    first, around, length = index.around(document, 700, 710) or (0, "", 0)
    assert 0 < first <= 700 and text[first : first + len(around)] == around and length == len(text)
    assert remove_folders([str(folder)], address) == 1 and contents(address)["passages"] == 0
    assert not Search(address).ask("庙里有多少个和尚？").found


def test_odd_texts_and_paths(address: str) -> None:
    odd = "a\0b it's C:\\x ' \\\\ 🍎🍎🍎 %s 山:* & | ! <-> 東"
    paths = ["/it's 100% \\x", "/" + "长" * 1300]
    index = Postgres(address, new=True)
    with index.writing():
        for path in paths:
            index.add_folder(path)
            index.put(path, "1", odd)
    assert whole(index) and [document.path for document in index.documents(paths[1])] == paths[1:]
    assert index.text(paths[0]) == odd.replace("\0", "\ufffd") and index.folders == paths
    for term in ("🍎🍎", "s", "x", "山"):
        assert len(index.find([term], 5)) == 2


def test_an_error_leaves_nothing_half_done(address: str) -> None:
    index = Postgres(address, new=True)
    with pytest.raises(KeyError), index.writing():
        index.put("a", "1", "山上有庙。")
        raise KeyError
    assert index.size == 0 and not index.documents() and whole(index)


def test_old_terms_are_made_again(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    index = Postgres(address, new=True)
    with index.writing():
        index.put("a", "1", "山上有庙。" * 300)
        index.remember("terms", 0)
    index._do("update passages set terms = '', size = 0")
    index.close()
    assert whole(Postgres(address))


def test_one_writer_at_a_time(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("haina.apps.search.postgres.PATIENCE_S", 1)
    one, other = Postgres(address, new=True), Postgres(address)
    with one.writing(), pytest.raises(ValueError, match="lock timeout"), other.writing():
        pass


def test_after_the_server_was_away(address: str, cluster: tuple[str, Run]) -> None:
    index = Postgres(address, new=True)
    with index.writing():
        index.put("a", "1", "山上有庙。")
    cluster[1]("-w", "-m", "fast", "stop")
    with pytest.raises(ValueError, match=r"postgresql://.*check the database"):
        index.find(["山上"], 5)
    cluster[1]()
    assert index.find(["山上"], 5) == [1]
    with pytest.raises(ValueError), index.writing():
        index.put("b", "1", "山上无庙。")
        index._opened.close()  # in the midst of a transaction: nothing of it stays, nor what follows
        index.put("c", "1", "水")
    assert [document.path for document in index.documents()] == ["a"] and whole(index)


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_killed_while_it_writes(address: str, folder: Path) -> None:
    for number in range(120):
        (folder / f"{number}.txt").write_text(
            f"第{number}号文件。" + "春眠不觉晓，处处闻啼鸟。" * 20, "utf-8"
        )
    Postgres(address, new=True).close()
    code = (
        "import sys; from haina.apps.search import ingest, postgres; ingest.COMMIT_CHARS = 2000;"
        "made = postgres.Postgres(sys.argv[1]); print(flush=True); ingest.add(made, sys.argv[2])"
    )
    for wait in (0.05, 0.2):
        with subprocess.Popen(
            [sys.executable, "-c", code, address, str(folder)], stdout=subprocess.PIPE
        ) as program:
            assert program.stdout
            program.stdout.readline()
            time.sleep(wait)
            program.send_signal(signal.SIGKILL)
        index = Postgres(address)
        assert whole(index)
        for document in index.documents():
            assert index.text(document.path) == Path(document.path).read_text("utf-8")
    add(index, folder)
    assert len(index.documents()) == 120 and whole(index) and not refresh(index).any


@pytest.mark.parametrize(
    "given, said",
    [
        ("postgresql://locked:s3cret@/postgres?host={host}", "password authentication failed"),
        ("postgresql://haina:s3cret@/none?host={host}", "does not exist"),
        ("postgresql://haina:s3cret@127.0.0.1:1/x", "onnection refused"),
        ("postgresql://haina:with@s3cret@127.0.0.1/x", "not an address"),
        ("postgresql://haina:s3cret@127.0.0.1:port/x", "postgresql://"),
        ("postgresql://haina:s3cret%zz@127.0.0.1/x", "not an address"),
    ],
)
def test_no_password_is_told(address: str, given: str, said: str) -> None:
    with pytest.raises(ValueError) as refused:
        Search(given.format(host=address.split("host=")[1]))
    told = str(refused.value)
    assert said in told and "s3cret" not in told and "\n" not in told


def test_one_clear_line_on_the_command_line() -> None:
    command = [
        sys.executable,
        "-m",
        "haina",
        "search",
        "山",
        "--index",
        "postgresql://me:s3cret@127.0.0.1:1/x",
    ]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode and not ended.stdout and "s3cret" not in ended.stderr
    assert len(ended.stderr.splitlines()) == 1 and "postgresql://me@127.0.0.1:1/x" in ended.stderr


def test_without_psycopg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "haina.apps.search.postgres")
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ValueError, match=r"pip install 'haina\[postgres\]'"):
        Search("postgresql://me@host/texts")


def test_no_index_yet(address: str) -> None:
    with pytest.raises(ValueError, match="no index yet"):
        Search(address)


def test_an_address_is_shown_without_its_password() -> None:
    assert (
        shown("postgresql://me:s3cret@db.example:6000/texts?sslmode=require")
        == "postgresql://me@db.example:6000/texts"
    )
    assert shown("postgresql:///texts") == "postgresql:///texts"


def test_vectors_by_pgvector(address: str) -> None:
    from haina.apps.model import open_model
    from haina.apps.search.vectors import embedded, fill, near
    from haina.cli.app import EMBEDDED
    from haina.options.models import ModelOptions

    index, texts = (
        Postgres(address, new=True),
        [f"第{number}段，{'山水风雨'[number % 4]}。" for number in range(40)],
    )
    if not index.rows("select 1 from pg_available_extensions where name = 'vector'"):
        pytest.skip("no pgvector here: apt-get install postgresql-17-pgvector, from Debian 13 on")
    with index.writing():
        for number, text in enumerate(texts):
            index.put(str(number), "", text)
    model = open_model(EMBEDDED, ModelOptions())
    assert fill(index, model, "here") == 40 and fill(index, model, "here") == 0
    find = near(index, lambda folder: model)
    nearest = (embedded(model, texts) @ embedded(model, [texts[7]])[0]).argsort()[:-21:-1] + 1
    assert find(texts[7])[0] == 8 and len(set(find(texts[7])) & set(nearest.tolist())) >= 18
    with index.writing():
        index.drop("7")
    assert 8 not in find(texts[7]) and index.rows("select count(*) from vectors") == [(39,)]


def test_without_pgvector(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("haina.apps.search.postgres_near.TABLE", "create extension nothing{size};")
    with pytest.raises(ValueError, match=r"^postgresql://.*nothing9"):
        Postgres(address, new=True).vectors().clear(9)
