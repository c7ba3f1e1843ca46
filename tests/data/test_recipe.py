"""Recipes: everything that can be wrong is said at once, in one line that names it."""

from pathlib import Path

import pytest

from haina.data.files import files_of, require_room, unread
from haina.data.recipe import Recipe, Source, read

SOURCE = '[[source]]\nname = "a"\npath = "*.txt"\nlicence = "MIT"\n'


@pytest.mark.parametrize(
    ("wire", "words"),
    [
        ("", "names no [[source]]"),
        ("x = ", "not TOML"),
        ("licenses = []\n" + SOURCE, "there is no licenses; did you mean licences?"),
        (SOURCE + "weigth = 2\n", "there is no weigth; did you mean weight?"),
        (SOURCE + 'weight = "much"\n', "weight: 'much' is of the wrong kind; it takes a number"),
        (SOURCE + "weight = 0\n", "weight 0 is not between"),
        (SOURCE + SOURCE, "give each its own"),
        (SOURCE + 'format = "jsnl"\n', "there is no jsnl; did you mean jsonl?"),
        (SOURCE + 'without = ["to_short"]\n', "did you mean too_short?"),
        (SOURCE + 'text = "{a.b}"\n', "fields stand as {name}"),
        (SOURCE + 'pattern = "("\n', "pattern: "),
        (SOURCE.replace("MIT", "CC-BY-NC-4.0"), "a: licence: CC-BY-NC-4.0 is not among the allowed"),
        (SOURCE.replace('licence = "MIT"', ""), "a: licence: none is given; write licence = "),
        ('[[source]]\nname = "a"\nlicence = "MIT"\n', "path is missing"),
        ('languages = ["fr"]\n' + SOURCE, "there is no fr"),
        (SOURCE + "limits.to_short = 9\n", "a: limits: there is no to_short; did you mean too_short?"),
        (SOURCE + "limits.zh.lorem_ipsum = 9\n", "a: limits.zh: there is no lorem_ipsum"),
        (SOURCE + "limits.zh = 3\n", "a: limits.zh takes a table"),
        ('limits.too_short = "9"\n' + SOURCE, "limits: too_short takes a number, such as 50"),
        ("limits.hashes = true\n" + SOURCE, "limits: hashes takes a number, such as 0.1"),
        ("limits.word_length = 5\n" + SOURCE, "limits: word_length takes two numbers, such as [1, 5]"),
        ("limits.word_length = [5, 2]\n" + SOURCE, "limits: word_length takes two numbers"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, wire: str, words: str) -> None:
    (file := tmp_path / "recipe.toml").write_text(wire, "utf-8")
    with pytest.raises(ValueError) as error:
        read(file)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_numbers_of_rules_are_a_sources_own_before_the_recipes(tmp_path: Path) -> None:
    (file := tmp_path / "recipe.toml").write_text(
        "[limits]\ntoo_short = 20\nhashes = 0.2\n[limits.en]\ntoo_short = 30\nlorem_ipsum = 1\n"
        + SOURCE
        + "[source.limits]\nhashes = 0.5\nzh.word_length = [1, 8]\n",
        "utf-8",
    )
    recipe = read(file)
    zh, mixed, en = (
        {rule.name: rule for rule in recipe.rules(recipe.source[0], of)} for of in ("zh", "mixed", "en")
    )
    assert zh["too_short"].least == mixed["too_short"].least == 20 and en["too_short"].least == 30
    assert zh["hashes"].most == en["hashes"].most == 0.5 and en["lorem_ipsum"].most == 1
    assert (zh["word_length"].least, zh["word_length"].most, en["word_length"].most) == (1, 8, 10)
    assert zh["bullets"].most == 0.9


def test_licences_are_compared_as_people_write_them(tmp_path: Path) -> None:
    assert (
        Recipe().allows("cc by-sa 4.0")
        and Recipe().allows("Public Domain")
        and not Recipe().allows("CC BY-NC 4.0")
    )
    (file := tmp_path / "recipe.toml").write_text(
        "allow_unlicensed = true\n" + SOURCE.replace("MIT", ""), "utf-8"
    )
    assert read(file).allow_unlicensed


def test_files_are_found_in_order_and_links_out_of_a_repository_are_not_followed(tmp_path: Path) -> None:
    (checkout := tmp_path / "fetched" / "a" / "sub").mkdir(parents=True)
    (tmp_path / "secret.txt").write_text("x")
    (checkout / "link.txt").symlink_to(tmp_path / "secret.txt")
    for name in ("b.txt", "a.txt", ".hidden.txt"):
        (checkout / name).write_text("x")
    source = Source(path="**/*.txt", name="a", git="https://a.example/a", commit="0" * 40)
    assert [file.name for file in files_of(source, tmp_path)] == ["a.txt", "b.txt"]
    with pytest.raises(ValueError, match="haina data fetch"):
        files_of(Source(path="*.md", name="a", git="https://a.example/a"), tmp_path)


def test_files_of_unknown_formats_are_passed_over_and_one_alone_is_meant(tmp_path: Path) -> None:
    (folder := tmp_path / "texts").mkdir()
    (folder / "a.docx").write_text("x")
    source = Source(path="texts", name="a")
    assert files_of(source, tmp_path) == [folder / "a.docx"] and unread(source, tmp_path) == []
    (folder / "b.pdf").write_text("x")
    with pytest.raises(ValueError, match=r"none of the 2 files .* \(.docx, .pdf\)"):
        files_of(source, tmp_path)
    (folder / "c.txt").write_text("x")
    assert files_of(source, tmp_path) == [folder / "c.txt"]
    assert [file.name for file in unread(source, tmp_path)] == ["a.docx", "b.pdf"]


def test_a_full_disk_is_told_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (file := tmp_path / "a.jsonl.zst").write_bytes(b"x" * 1000)
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("", (), {"free": 5000}))
    with pytest.raises(ValueError, match="make room"):
        require_room(tmp_path / "corpus", [file])
