"""haina data build: the corpus depends on recipe and files alone, not on workers, executors or interruptions."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from html.parser import HTMLParser
from pathlib import Path

import pytest

from haina.checkpoint.new_folder import alone
from haina.data.build import build
from haina.data.steps import read_rows
from haina.options.data import BuildOptions

POEM = ["春眠不觉晓，处处闻啼鸟。", "夜来风雨声，花落知多少。"]
HOSTILE = "<script>alert(1)</script>的年在月是和日" + "夜里的海面很暗，灯塔的光在雾中转动。" * 3
RECIPE = """
name = "small"
[[source]]
name = "pages"
path = "pages/*.jsonl"
licence = "CC0-1.0"
url = "https://a.example/"
date = "2026-01-01"
[[source]]
name = "poems"
path = "poems.json"
text = "{title}\\n{lines}"
licence = "{lic}"
language = "zh"
domain = "verse"
rules = false
weight = 2.0
[[source]]
name = "talk"
path = "talk.jsonl"
messages = "messages"
licence = "MIT"
rules = false
[[evaluation]]
name = "exam"
path = "exam.txt"
"""


WORDS = (
    "的 在 是 和 了 海 船 港口 灯塔 渔民 清晨 风浪 码头 书信 远山 雨水 老人 孩子 学校 田野 河流 桥梁 市场 茶馆 故事"
).split()


def page(number: int) -> str:
    """Nine lines that no other page has."""
    chance = random.Random(number)
    return "\n".join("".join(chance.choices(WORDS, k=16)) + "。" for _ in range(9))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Texts and their recipe: six files, a duplicate, a text of an exam, markup, personal data, ids that repeat."""
    (tmp_path / "pages").mkdir()
    for number in range(6):
        rows = [{"text": page(number * 5 + k), "id": f"{k}"} for k in range(5)]
        (tmp_path / "pages" / f"{number:02}.jsonl").write_text(
            "".join(json.dumps(row) + "\n" for row in rows), "utf-8"
        )
    exam = "下列关于长江三角洲城市群空间结构演变的说法中，哪一项最符合题意并能由材料推出？"
    odd = [page(3), exam + page(99), HOSTILE, page(200) + "写信到 someone@example.com 或打 13812345678。"]
    rows = "".join(json.dumps({"text": text}) + "\n" for text in odd)
    (tmp_path / "pages" / "odd.jsonl").write_text(rows + "broken\n", "utf-8")
    (tmp_path / "pages" / "empty.jsonl").write_text("")
    (tmp_path / "exam.txt").write_text(exam, "utf-8")
    poems = [{"title": "春晓", "lines": POEM, "lic": lic} for lic in ("MIT", "CC-BY-NC-4.0")]
    (tmp_path / "poems.json").write_text(json.dumps(poems), "utf-8")
    talk = {
        "messages": [
            {"role": "user", "content": "你好 13812345678"},
            {"role": "assistant", "content": "你好！"},
        ]
    }
    (tmp_path / "talk.jsonl").write_text(json.dumps(talk) + "\n", "utf-8")
    (tmp_path / "recipe.toml").write_text(RECIPE, "utf-8")
    return tmp_path


def made(folder: Path, name: str, **options: object) -> Path:
    build(folder / "recipe.toml", BuildOptions(out=str(folder / name), **options), lambda text: None)  # type: ignore[arg-type]
    return folder / name


def bytes_of(corpus: Path) -> dict[str, bytes]:
    return {
        file.relative_to(corpus).as_posix(): file.read_bytes()
        for file in sorted(corpus.rglob("*"))
        if file.is_file()
    }


def test_a_corpus_with_its_papers(folder: Path) -> None:
    corpus = made(folder, "corpus", workers=1)
    about = json.loads((corpus / "manifest.json").read_bytes())
    assert about["may_ship"] and not (folder / ".corpus.building").exists()
    pages, poems, talk = (about["sources"][name] for name in ("pages", "poems", "talk"))
    assert (
        pages["dropped"]["exact_duplicate"]
        == pages["dropped"]["evaluation: exam"]
        == pages["dropped"]["not_json"]
        == 1
    )
    assert pages["transformations"]["redacted"] == {"email": 1, "phone": 1} and poems["dropped"] == {
        "licence": 1
    }
    assert (pages["url"], pages["date"], poems["licences"]) == (
        "https://a.example/",
        "2026-01-01",
        {"MIT": 1},
    )
    rows = [row for file in sorted((corpus / "documents").iterdir()) for row in read_rows(file)]
    assert len(rows) == about["kept"]["documents"] and len(
        {(row["source"], row["id"]) for row in rows}
    ) == len(rows)
    assert (
        rows[-1]["messages"][0] == {"role": "user", "content": "你好 <PHONE>"}
        and talk["kept"]["documents"] == 1
    )
    verse = rows[-2]
    assert (verse["domain"], verse["weight"], verse["text"]) == ("verse", 2.0, "春晓\n" + "\n".join(POEM))
    assert set(verse["scores"]) == {"cluster", "paragraphs", "sentences"}
    for name, file in about["files"].items():
        assert hashlib.sha256((corpus / name).read_bytes()).hexdigest() == file["sha256"]
    for file in pages["files"]:
        assert hashlib.sha256((folder / file["path"]).read_bytes()).hexdigest() == file["sha256"]


def test_the_report_shows_hostile_text_and_does_not_run_it(folder: Path) -> None:
    html = (made(folder, "corpus", workers=1) / "report" / "index.html").read_text("utf-8")
    tags: list[str] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: tags.append(tag)  # type: ignore[method-assign]
    parser.feed(html)
    assert "script" not in tags and "svg" in tags and "&lt;script&gt;alert(1)" in html
    assert "default-src 'none'" in html and "13812345678" not in html and "舍弃" in html and "dropped" in html


def test_the_number_of_workers_does_not_show(folder: Path) -> None:
    recipe = folder / "recipe.toml"
    recipe.write_text("part_mb = 0\n" + RECIPE, "utf-8")  # a task for every file
    assert bytes_of(made(folder, "one", workers=1)) == bytes_of(made(folder, "two", workers=2))


def test_killed_at_any_moment_it_goes_on(folder: Path) -> None:
    (folder / "recipe.toml").write_text("part_mb = 0\n" + RECIPE, "utf-8")
    whole = bytes_of(made(folder, "whole", workers=1))
    command = [sys.executable, "-m", "haina", "data", "build", str(folder / "recipe.toml"), "--workers", "1"]
    command += ["--out", str(folder / "killed")]
    for marks in (2, 7):  # tasks that are done when it is killed
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
        while (
            process.poll() is None and len(list(folder.glob(".killed.building/logs/*/completions/*"))) < marks
        ):
            time.sleep(0.005)
        with suppress(ProcessLookupError):  # until the last worker is gone, which holds the lock as well
            while True:
                os.killpg(process.pid, signal.SIGKILL)
                process.poll()
                time.sleep(0.01)
        assert not (folder / "killed").exists()
    assert bytes_of(made(folder, "killed", workers=1)) == whole


def test_two_processes_do_not_build_one_corpus(folder: Path) -> None:
    with alone(folder / ".corpus.lock", ""), pytest.raises(ValueError, match="another process builds it"):
        made(folder, "corpus", workers=1)
    assert not (folder / "corpus").exists() and not (folder / ".corpus.building").exists()
    made(folder, "corpus", workers=1)
    assert not (folder / ".corpus.lock").exists()


def test_ray_makes_the_same_bytes(folder: Path) -> None:
    pytest.importorskip("ray")
    short = RECIPE[: RECIPE.index('[[source]]\nname = "poems"')].replace("pages/*", "pages/0[01]*")
    (folder / "recipe.toml").write_text("part_mb = 0\n" + short, "utf-8")
    whole = bytes_of(made(folder, "local", workers=1))
    code = (
        "import sys; from pathlib import Path\n"
        "from haina.data.build import build; from haina.options.data import BuildOptions\n"
        "build(Path(sys.argv[1]), BuildOptions(out=sys.argv[2], executor='ray', workers=2), lambda text: None)"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, str(folder / "recipe.toml"), str(folder / "ray")]
    subprocess.run(command, check=True, timeout=300)
    assert bytes_of(folder / "ray") == whole and len(whole) == 5


def test_croissant(folder: Path) -> None:
    pytest.importorskip("mlcroissant")
    corpus = made(folder, "corpus", workers=1)
    code = (
        "import sys, mlcroissant; sets = mlcroissant.Dataset(sys.argv[1]).metadata.record_sets\n"
        "print([len(one.fields) for one in sets])"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(corpus / "croissant.json")],
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0 and "[7," in done.stdout, done.stderr
    assert "WARNING" not in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (RECIPE.replace("pages/*.jsonl", "page/*.jsonl"), "pages: no files at"),
        (
            RECIPE.replace('text = "{title}', 'text = "{titel}'),
            "poems: none of the first 2 rows holds a document (2 a row without the field that text names); "
            "the rows have title, lines, lic; set, for example, text = ",
        ),
        (RECIPE.replace("exam.txt", "pages/empty.jsonl"), "evaluation set exam: no text"),
    ],
)
def test_what_is_wrong_is_told_before_the_work(folder: Path, recipe: str, words: str) -> None:
    (folder / "recipe.toml").write_text(recipe, "utf-8")
    with pytest.raises(ValueError, match=words.replace("(", r"\(").replace(")", r"\)")):
        made(folder, "corpus")
    assert not (folder / "corpus").exists()


def test_nothing_left_is_no_corpus(folder: Path) -> None:
    (texts := folder / "texts").mkdir()
    (texts / "short.txt").write_text("太短了。", "utf-8")
    (texts / "other.jsonl").write_text(json.dumps({"正文内容": page(1), "标题": "x"}) + "\n", "utf-8")
    (texts / "letter.docx").write_bytes(b"PK\0")
    recipe = '[[source]]\nname = "a"\npath = "texts"\nlicence = "own"\n'
    (folder / "recipe.toml").write_text(recipe, "utf-8")
    with pytest.raises(ValueError) as error:
        made(folder, "corpus", workers=1)
    for words in (
        "no document is left of 2",
        "1 too short",
        "the rows have 正文内容, 标题",
        "texts/letter.docx",
    ):
        assert words in str(error.value)
    assert "\n" not in str(error.value) and not list(folder.glob("*corpus*")) + list(folder.glob(".corpus*"))
    (texts / "good.txt").write_text(page(2), "utf-8")
    told = build(
        folder / "recipe.toml", BuildOptions(out=str(folder / "corpus"), workers=1), lambda text: None
    )
    assert "1 documents" in told and "dropped: " in told and 'text = "{正文内容}"' in told and ".docx" in told
    html = (folder / "corpus" / "report" / "index.html").read_text("utf-8")
    assert "篇幅过短 · too short" in html and "<code>too_short</code>: zh ≥ 50, Gopher; en ≥ 50" in html


def test_quality_and_unlicensed_texts(folder: Path) -> None:
    junk = "点击领取优惠券，加微信送大奖，限时秒杀全场包邮，转发有礼。"
    (folder / "junk.txt").write_text("\n".join(f"{junk}{n}号客服" for n in range(60)), "utf-8")
    (folder / "good.txt").write_text("\n".join(page(n).split("\n")[0] for n in range(60)), "utf-8")
    both = "".join(json.dumps({"text": text}) + "\n" for text in (page(7), junk * 4))
    (folder / "both.jsonl").write_text(both, "utf-8")
    (folder / "recipe.toml").write_text(
        'allow_unlicensed = true\n[[source]]\nname = "a"\npath = "both.jsonl"\nrules = false\n[quality]\nleast = 0.5\n'
        '[[quality.good]]\npath = "good.txt"\nformat = "lines"\n[[quality.bad]]\npath = "junk.txt"\nformat = "lines"\n',
        "utf-8",
    )
    about = json.loads((made(folder, "corpus", workers=1) / "manifest.json").read_bytes())
    assert not about["may_ship"] and about["dropped"] == {"quality": 1} and about["kept"]["documents"] == 1
