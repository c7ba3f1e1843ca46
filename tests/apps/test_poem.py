"""`haina poem`: forms are kept whatever the model says, wishes are honoured, what cannot be met is told in one line."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import haina
from haina.apps.model import Model, load_model, opened
from haina.apps.poem import check
from haina.apps.poem.anthology import Anthology
from haina.apps.poem.couplet import answers, parallel
from haina.apps.poem.explain import explain
from haina.apps.poem.known import Known
from haina.apps.poem.plan import Wish, form_of
from haina.apps.poem.sense import sense
from haina.apps.poem.show import record
from haina.apps.poem.terminal import columns
from haina.apps.poem.theme import title
from haina.apps.poem.write import Poem, Poet, Writing, lines_of, settled
from haina.cli.program import main
from haina.options.models import ModelOptions

Run = Callable[..., tuple[int, str, str]]
TOWER = "白日依山尽，黄河入海流。\n欲穷千里目，更上一层楼。"


@pytest.fixture(scope="module")
def model() -> Model:
    folder = Path(haina.__file__).with_name("weights")
    return load_model(opened(folder), ModelOptions(threads=1), conversations=8)


@pytest.fixture(scope="module")
def poet(model: Model) -> Poet:
    return Poet(model)


@pytest.fixture
def written(model: Model) -> Callable[[Writing], list[Poem]]:
    return lambda writing: settled(model.engine, writing)


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["haina", "poem", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


def test_poems_are_ranked_and_keep_the_form(poet: Poet, written: Callable[[Writing], list[Poem]]) -> None:
    poems = written(poet.write(Wish(), theme="秋江", seed=1))
    assert len(poems) == len({poem.text for poem in poems}) == 8
    assert [poem.score for poem in poems] == sorted((poem.score for poem in poems), reverse=True)
    assert all(check.regulated(poem.text, 5) == [] for poem in poems)
    assert poems == written(poet.write(Wish(), theme="autumn river", seed=1))


def test_wishes_are_honoured(poet: Poet, written: Callable[[Writing], list[Poem]]) -> None:
    wish = Wish("七言绝句", acrostic="春夏秋冬", keywords=("明月", "酒"), rhyme="东")
    for poem in written(poet.write(wish, seed=2)):
        assert "".join(line[0] for line in lines_of(poem.text)) == "春夏秋冬"
        assert "明月" in poem.text and "酒" in poem.text
        assert record(poem)["rhymes"] == ["一东"] and check.regulated(poem.text, 7) == []
    for poem in written(poet.write(Wish("如梦令"), seed=2)):
        assert check.tune(poem.text, "如梦令") == []


def test_revision(poet: Poet, written: Callable[[Writing], list[Poem]]) -> None:
    kept = written(poet.write(Wish(given=TOWER.replace("尽", "□")), seed=3))
    assert all(poem.text[:4] == TOWER[:4] and poem.text[5:] == TOWER[5:] for poem in kept)
    changed = written(poet.write(Wish(given=TOWER.replace("黄", "[长]"), scope="line"), seed=3))
    assert all(poem.text.startswith(TOWER[:6] + "长") and poem.text[13:] == TOWER[13:] for poem in changed)


def test_a_couplet_is_answered(poet: Poet, written: Callable[[Writing], list[Poem]]) -> None:
    for poem in written(poet.answer_couplet("春风春雨花经眼", seed=4)):
        (line,) = lines_of(poem.text)
        assert len(line) == 7 and line[0] == line[2] and not set(line) & set("春风雨花经眼")
        assert "平" in check.tones(line[-1], "平水韵") and "仄" in check.tones(line[1], "平水韵")


def test_quoted_lines(poet: Poet, written: Callable[[Writing], list[Poem]]) -> None:
    everything = {quotation.line for quotation in Anthology.shipped().quotations}
    for poem in written(poet.collect(Wish("七言绝句"), theme="秋", seed=5)):
        assert everything.issuperset(lines_of(poem.text)) and check.regulated(poem.text, 7) == []


def test_known_lines() -> None:
    known = Known.of(f"第{number}行" for number in range(1000))
    assert all(f"第{number}行" in known for number in range(1000))
    assert sum(f"另{number}行" in known for number in range(1000)) < 30
    assert "白日依山尽" in Known.shipped()
    like = Anthology.shipped().like("疑是地上霜")
    assert len(like) == 3 and all(len(set(each.line) & set("疑是地上霜")) >= 2 for each in like)


def test_what_a_word_means_decides_the_tone() -> None:
    assert [sense(line, line.index("长")) for line in ("长江流不尽", "年少未成长", "人长不相见")] == [
        "-",
        "|",
        "",
    ]
    form = form_of(Wish())
    assert not (why := explain(form, TOWER)) or why.misread == ()
    why = explain(form, TOWER.replace("千里", "重大"))  # 重 must be level there
    assert why and why.misread == ("重",)


def test_couplets_that_answer() -> None:
    upper = "无边落木萧萧下"
    lower = ("不尽长江滚滚来", "百年多病独登台", "风急天高猿啸哀")
    assert max(lower, key=lambda line: answers(upper, line)) == lower[0]
    assert parallel(form_of(Wish("七言律诗")), [upper, lower[0]] * 4) > 0 == parallel(form_of(Wish()), [])


def test_titles() -> None:
    assert title("the autumn river at night") == "秋江夜"
    assert title("今天下雨了，我很想家") == "雨思乡"
    assert title("秋江") == "秋江"
    with pytest.raises(ValueError, match="10,000 characters"):
        title("春" * 10_000)


def test_columns_go_from_right_to_left() -> None:
    assert columns(TOWER).split("\n")[0] == "更　欲　黄　白"


def test_forms_are_listed(verb: Run) -> None:
    status, out, _ = verb("--forms", "如梦令")
    assert status == 0 and "33 characters, 6 forms" in out and out.count("韵") > 30
    assert verb("--forms", "浪淘")[1].count("\n") == 3 and verb("--forms", "all")[1].count("\n") == 817 + 2
    assert "near it: 浪淘沙" in verb("--forms", "浪逃沙")[2]


def test_the_verb(verb: Run, tmp_path: Path) -> None:
    picture = tmp_path / "poem.svg"
    status, out, err = verb("--seed", "1", "--json", "--references", "--picture", str(picture))
    (poem,) = json.loads(out)
    assert (status, err) == (0, "") and poem["pattern"] and len(poem["lines"]) == 4
    assert picture.read_text("utf-8").startswith("<svg")
    assert verb("--seed", "1")[1].strip() == poem["text"]
    shown = verb("--seed", "1", "--explain")[1].split("\n")
    assert shown[0].startswith("五言绝句 · ") and set(shown[3]) <= set("平仄韵？")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--form", "菩萨"], "no form or tune '菩萨'; near it: 菩萨蛮"),
        (["--form", "菩萨蛮", "--number", "9"], "菩萨蛮 has no form 9; there are 1 … 3"),
        (["--acrostic", "一", "--pattern", "平起首句入韵"], "line 1, character 1: 一 .* leave out --pattern"),
        (["--acrostic", "春夏秋冬春"], "5 characters, and 五言绝句 has 4 lines"),
        (["--keywords", "moon"], "'m' is no Chinese character"),
        (["--rhyme", "月亮"], "no one rhyme '月亮'"),
        (["--given", TOWER + "了"], "21 characters are given, and 五言绝句 has 20"),
        (["--theme", "春" * 10_000], "up to 200"),
        (["--keywords", "不知不觉又一年"], "fits nowhere in 五言绝句"),
        (["--couplet", "春"], "2 … 60"),
        (["--form", "五言排律", "--lines", "7"], "五言排律 cannot have 7 lines; give an even number of 10"),
        (["--form", "五言律诗", "--lines", "4"], "has 8 lines, not 4; leave --lines out"),
        (["--form", "五言排律", "--lines", "100", "--quote"], "too long for this model"),
        (["--acrostic", "啊", "--at", "-1"], "啊 .*no reading.* use --at 1"),
        (["--author", "李" * 9], "9 characters; give one of up to 8"),
        (["--form", "菩萨蛮", "--rhyme", "东"], "choose one of: 第一部$"),
        (["--picture", "poem.png"], "an .svg or an .html file"),
    ],
)
def test_what_cannot_be_met_is_told(verb: Run, arguments: list[str], told: str) -> None:
    status, out, err = verb("--seed", "1", *arguments)
    assert (status, out) == (2, "") and err.count("\n") == 1
    assert re.search(told, err), err
