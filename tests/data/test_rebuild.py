"""haina data fetch without a recipe: samples of the repositories become text to train on."""

# ruff: noqa: E501 (the samples)

import io
import json
import lzma
import re
import subprocess
import zipfile
from pathlib import Path

import pytest

from haina.data import fetch as fetching
from haina.data.brook import base
from haina.data.read import rows
from haina.data.rebuild import pack, plain, verse
from haina.options.data import FetchOptions

LONG = "话说天下大势，分久必合，合久必分。周末七国分争，并入于秦。" * 12
PROSE = "It was the best of times, it was the worst of times, and we had everything before us. " * 6
OPEN = '<license url="http://creativecommons.org/licenses/by/4.0/"/>'
CLOSED = '<license url="http://creativecommons.org/licenses/by-nc-sa/4.0/"/>'


def _zip(name: str, text: str) -> bytes:
    wire = io.BytesIO()
    with zipfile.ZipFile(wire, "w") as packed:
        packed.writestr(name, text)
    return wire.getvalue()


def _squad(text: str) -> str:
    return json.dumps({"data": [{"title": "秦", "paragraphs": [{"context": text}]}]})


def _collection(licence: str, module: str) -> str:
    return f'<c xmlns="http://cnx.rice.edu/collxml" xmlns:md="urn:md">{licence.replace("<", "<md:")}<module document="{module}"/></c>'


def _module(text: str) -> str:
    figure = "<figure><caption>NO PROSE</caption></figure>"
    return f'<document xmlns="http://cnx.rice.edu/cnxml"><title>Cells</title><content>{figure}<para>{text}</para></content></document>'


SAMPLES: dict[str, dict[str, str | bytes]] = {
    "chinese-novel": {
        "resources/历史演义/西游记/1.html": f"　　{LONG}<br><br>　　第二段。",
        "resources/其他/无名/1.html": "LEFT OUT",
    },
    "luxun": {"data/raw/野草/秋夜.md": f"```\n秋夜\n\n　　在我的后园，可以看见墙外有两株树，\n一株是枣树。{LONG}\n```"},
    "d2l-zh": {
        "chapter_a/b.md": f"# 线性\n:label:`sec_x`\n\n线性代数。{LONG}\n\n```python\nprint('NO PROSE')\n```\n",
        "chapter_a/b_origin.md": "# Linear\n\nLEFT OUT\n",
    },
    "drcd": {"DRCD_training.json": _squad("臺灣的首都" + LONG)},
    "laws": {"民法/某某法(2020-01-01).md": f"# 某某法\n\n2020年通过\n\n<!-- INFO END -->\n\n第一条 {LONG}\n"},
    "classical-modern": {"双语数据/论语/学而/bitext.txt": "古文：学而时习之。\n现代文：甲\n\n古文：不亦说乎？\n现代文：乙\n"},
    "classic-books": {
        "A/B.md": f"# Title: B\n\n## Author: A\n\n## Year: 1848\n\n-------\n\n{PROSE}",
        "A/C.md": f"# Title: C\n\n## Author: A\n\n## Year: 1935\n\n-------\n\nLEFT OUT {PROSE}",
    },
    "openstax-statistics": {
        "collections/a.collection.xml": _collection(OPEN, "m1"),
        "collections/b.collection.xml": _collection(CLOSED, "m2"),
        "modules/m1/index.cnxml": _module(PROSE + "One."),
        "modules/m2/index.cnxml": _module("LEFT OUT" + PROSE),
    },
    "factbook": {"africa/ke.json": json.dumps({
        "Geography": {"Location": {"text": "Eastern Africa"}, "Land boundaries": {"border countries": {"text": PROSE}}},
        "Government": {"Country name": {"conventional short form": {"text": "Kenya"}}},
    })},
    "medquad": {"1_A/1.xml": f"<Document><Focus>Flu</Focus><QAPairs><QAPair><Question>What is it?</Question>"
                             f"<Answer>{PROSE}Two.</Answer></QAPair></QAPairs></Document>"},
    "peps": {"peps/pep-0001.rst": f"PEP: 1\nTitle: Purpose\nStatus: Active\n\nAbstract\n========\n\n{PROSE}Three.\n\n"
                                  ".. code-block:: python\n\n    NO PROSE\n"},
    "state-union": {"packages/corpora/state_union.zip": _zip("state_union/1945-Truman.txt", PROSE + "Four.")},
    "kdconv": {"data/film/train.json": json.dumps([{"messages": [{"message": "你好"}, {"message": "您好"}]}])},
    "smile": {"data/1.json": json.dumps([{"role": "client", "content": "难过"}, {"role": "client", "content": "很难过"},
                                         {"role": "counselor", "content": "说说看"}])},
    "belle-eval": {"eval/eval_set.json": '{"question": "一加一", "std_answer": "二"}\n{"question": "甲", "std_answer": ""}\n'},
    "gsm8k": {"grade_school_math/data/train.jsonl": json.dumps({"question": "1+1?", "answer": "1+1=<<1+1=2>>2\n#### 2"})},
    "poetry-tang-song": {"全唐诗/poet.tang.0.json": json.dumps([
        {"title": "登鸛雀樓", "author": "王之渙", "paragraphs": ["白日依山盡，黃河入海流。", "欲窮千里目，更上一層樓。"]},
        {"title": "又", "author": "佚名", "paragraphs": ["白日依山盡，黃河入海流。"]},
        {"title": "殘", "author": "佚名", "paragraphs": ["□□依山盡，黃河入海流。"]}])},
    "poetry-ci": {"宋词/ci.song.0.json": json.dumps(
        [{"author": "苏轼", "rhythmic": "水调歌头", "paragraphs": ["明月几时有，把酒问青天。"]}])},
    "werneror-poetry": {"隋.csv": '"题目","朝代","作者","内容"\n"歌","隋","无名氏","十五从军征，八十始得归。"\n'},
    "cedict": {"Test2/cedict_ts.u8.lzma": lzma.compress("# CC\n蘋果 苹果 [ping2 guo3] /apple/CL:個|个[ge4]/\n".encode(),
                                                         format=lzma.FORMAT_ALONE)},
    "wordnet": {"src/yaml/noun.food.yaml": "0001-n:\n  definition:\n  - a fruit\n  members:\n  - apple\n  partOfSpeech: n\n",
                "src/yaml/entries.a.yaml": "LEFT OUT: 1\n"},
    "pinyin-data": {"pinyin.txt": "# v\nU+884C: xíng,háng  # 行\n", "kMandarin_8105.txt": "U+884C: xíng  # 行\n"},
    "phrase-pinyin-data": {f"{name}.txt": "银行: yín háng # 例\n" for name in ("overwrite", "pinyin", "di", "cc_cedict", "zdic_cybs")},
    "frequency-zh": {"content/2018/zh_cn/zh_cn_50k.txt": "的 3957141\n苹果 10\n"},
    "frequency-en": {"content/2018/en/en_50k.txt": "you 28787591\n"},
    "reverse-dictionary": {"data/data_test_500_rand1_unseen.json": json.dumps([{"word": "tricksy", "definitions": "LEFT OUT"}])},
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is made of the samples, as if they had been fetched."""
    folder = tmp_path_factory.mktemp("made")
    for name, files in SAMPLES.items():
        for path, content in files.items():
            file = folder / "fetched" / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(_wire(content))
    pack.rebuild(folder / "fetched", folder / "out", lambda text: None)
    return folder / "out"


def _wire(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content


def test_every_repository_of_the_table_is_read() -> None:
    named = {source.name for source in fetching.recipes.read(fetching.OURS).source}
    assert named == pack.repositories()


def test_what_can_be_had_is_taken_and_what_is_missing_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (server := tmp_path / "server").mkdir()
    commits = {"owasp": "0" * 40, **_served(server, ("peps", "gsm8k"))}  # the first is gone
    first, *blocks = fetching.OURS.read_text("utf-8").split("\n[[source]]\n")
    table = [first]
    for block in blocks:
        name = re.match('name = "(.*)"', block)
        if name and name[1] in commits:
            block = re.sub('git = ".*"', f'git = "{server.as_uri()}"', block)
            table.append(re.sub('commit = ".*"', f'commit = "{commits[name[1]]}"', block))
    (tmp_path / "sources.toml").write_text("\n[[source]]\n".join(table), "utf-8")
    monkeypatch.setenv("HAINA_LANG", "en")
    monkeypatch.setattr(fetching, "OURS", tmp_path / "sources.toml")
    lines = fetching.fetch(None, FetchOptions(out=str(tmp_path / "out")), lambda text: None).splitlines()
    assert "2 rows of 2 of 3 repositories" in lines[0] and "train brook --data" in lines[0]
    assert any(line.startswith("missing: owasp: not fetched:") for line in lines)
    assert "missing: digitalgov: its files hold no rows" in lines


def _served(server: Path, names: tuple[str, ...]) -> dict[str, str]:
    """A repository in which each of these samples is a commit of its own, and the commits' names."""

    def git(*arguments: str, given: bytes = b"") -> str:
        done = subprocess.run(["git", *arguments], cwd=server, input=given, check=True, capture_output=True)
        return done.stdout.decode().strip()

    git("init", "-q", "--bare", "--template=")
    with (server / "config").open("a") as settings:
        settings.write("[uploadpack]\n\tallowAnySHA1InWant = true\n\tallowFilter = true\n")
    git("fast-import", "--quiet", given=b"".join(_commit(name, SAMPLES[name]) for name in names))
    return dict(zip(names, git("rev-parse", *names).split(), strict=True))


def _commit(name: str, files: dict[str, str | bytes]) -> bytes:
    stream = f"commit refs/heads/{name}\ncommitter a <a@example.com> 1 +0000\ndata 0\n".encode()
    for path, wire in ((path, _wire(content)) for path, content in files.items()):
        stream += f'M 644 inline "{path}"\ndata {len(wire)}\n'.encode() + wire + b"\n"
    return stream


def test_brook_reads_the_folder_as_it_reads_the_pack(made: Path) -> None:
    found = list(base.base(made, "train")) + list(base.base(made, "valid"))
    assert {row["source"] for row in found} >= {
        "novel", "luxun", "d2l-zh", "drcd", "laws", "classical-modern", "books", "openstax:statistics", "factbook",
        "medquad", "peps", "state_union", "kdconv", "smile", "belle_eval", "gsm8k_train", "poems", "cedict", "wordnet",
    }  # fmt: skip
    wire = json.dumps(found, ensure_ascii=False)
    assert "LEFT OUT" not in wire and "NO PROSE" not in wire
    assert "台湾的首都" in wire and "The answer is 2" in wire and "<<" not in wire and "\\n很难过" in wire


def test_rows_have_the_fields_of_the_packs(made: Path, data: Path) -> None:
    for file in sorted(made.rglob("*.jsonl.zst")):
        name = file.relative_to(made)
        theirs = set().union(*(row.keys() for row, _ in zip(rows(data / name), range(500))))  # noqa: B905
        optional = {"lic", "category", "tune", "usual", "definition", "lexnames", "sememes", "root_affix"}
        for row in rows(file):
            assert theirs - optional <= row.keys() <= theirs | optional, name


def test_forms_and_keys_of_verse() -> None:
    assert [verse.form(["白日依山尽，"] * n) for n in (4, 6, 8, 9, 10)] == [
        "五绝",
        "五古",
        "五律",
        "五古",
        "五言长篇",
    ]
    assert verse.form(["大江东去，", "浪淘尽，"]) == "杂言"
    poem = {"dynasty": "宋", "author": "陆游", "form": "七绝", "lines": ["一", "二"]}
    many = [(str(n), poem) for n in range(verse.MOST_OF_AN_AUTHOR + 9)]
    assert len(list(verse.chosen(iter(many + many)))) == verse.MOST_OF_AN_AUTHOR


def test_prose_of_markup() -> None:
    title, text = plain.markdown(
        "---\ntitle: 'One'\n---\n\n| a |\n\nsee :numref:`x` **bold**\n\n~~~\ncode\n~~~\nend {/*a*/}"
    )
    assert (title, text) == ("One", "see bold\n\nend")
    assert (
        plain.restructured("PEP: 1\nTitle: T\n\nA\n=\n\nIn :pep:`8` ``x``::\n\n  code\n\nend\n")
        == "A\n=\n\nIn 8 x:\n\nend"
    )


def test_a_large_source_is_thinned_alike_each_time() -> None:
    rows_of = [(str(number), {"text": "x" * 90}) for number in range(1000)]
    kept = pack.thinned(rows_of, 30_000)
    assert 200 < len(kept) < 400 and kept == pack.thinned(rows_of, 30_000)
    assert pack.thinned(rows_of, 1e9) == rows_of
