"""The quality score learns the difference that it is shown, in either language, and is the same after a restart."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from haina.data.quality import Scorer, train
from haina.data.read import rows

GOOD = [f"本文分析了第{n}组实验的结果，并讨论了误差的来源与改进的方法。" for n in range(40)]
GOOD += [f"This paper analyses experiment {n} and discusses the sources of error." for n in range(40)]
BAD = [f"点击领取{n}元红包，加微信免费送，全场包邮，手慢无！！！" for n in range(40)]
BAD += [f"Click here to win {n} dollars, free shipping, buy now!!!" for n in range(40)]


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return train(GOOD[::2], BAD[::2])


def test_texts_that_it_has_not_seen(scorer: Scorer) -> None:
    assert min(map(scorer.score, GOOD[1::2])) > 0.8
    assert max(map(scorer.score, BAD[1::2])) < 0.2


def test_a_text_of_which_it_knows_nothing_is_undecided(scorer: Scorer) -> None:
    assert scorer.score("") == scorer.score("……") == 0.5


def test_two_trainings_are_equal(scorer: Scorer) -> None:
    again = train(iter(GOOD[::2]), iter(BAD[::2]))
    assert again.weights.tobytes() == scorer.weights.tobytes()


def test_kept_and_opened_it_scores_the_same(scorer: Scorer, tmp_path: Path) -> None:
    file = tmp_path / "quality.npz"
    scorer.save(file)
    assert file.stat().st_size < 200_000
    assert [Scorer.open(file).score(text) for text in GOOD] == [scorer.score(text) for text in GOOD]


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "quality.npz"
    for bytes_ in (b"", b"PK\x03\x04broken", b"x" * 100):
        file.write_bytes(bytes_)
        with pytest.raises(ValueError, match=r"quality\.npz: not a quality score; train it again"):
            Scorer.open(file)


@pytest.mark.parametrize(("good", "bad"), [([], BAD), (GOOD, [])])
def test_one_side_alone_teaches_nothing(good: list[str], bad: list[str]) -> None:
    with pytest.raises(ValueError, match="good texts and bad ones"):
        train(good, bad)


def test_news_and_reviews(data: Path) -> None:
    news, reviews = (
        [row["text"] for row in islice(rows(data / f"text_zh/train/{name}.jsonl.zst"), 200)]
        for name in ("news", "literature")
    )
    scorer = train(news[:100], reviews[:100])
    right = sum(scorer.score(text) > 0.5 for text in news[100:])
    right += sum(scorer.score(text) < 0.5 for text in reviews[100:])
    assert right >= 190
