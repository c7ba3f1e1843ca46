"""Which language a text is in: real texts, article 1 of the Universal Declaration in others, and hard cases."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from haina.data.language import language
from haina.data.read import rows

OTHERS = [
    "Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont doués de",
    "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft und",
    "Todos los seres humanos nacen libres e iguales en dignidad y derechos y, dotados como están de",
    "Alle mensen worden vrij en gelijk in waardigheid en rechten geboren. Zij zijn begiftigd met",
    "Tutti gli esseri umani nascono liberi ed eguali in dignità e diritti. Essi sono dotati di",
    "Alle mennesker er født frie og lige i værdighed og rettigheder. De er udstyret med fornuft og",
    "Все люди рождаются свободными и равными в своем достоинстве и правах. Они наделены разумом и",
    "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。人間は",
    "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다. 인간은 천부적으로 이성과",
    "يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق. وقد وهبوا عقلاً وضميرًا وعليهم أن يعامل",
    "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ",
    "aGVsbG8gd29ybGQ= ZmZmZg== 3q2+7w== 0x7fff 0xdead lorem xyzzy qwerty asdf zxcv hjkl",
]  # fmt: skip
CASES = [
    ("人人生而自由，在尊严和权利上一律平等。", "zh"),
    ("人人生而自由，在尊嚴和權利上一律平等。他們賦有理性和良心，並應以兄弟關係的精神相對待。", "zh"),
    ("学而时习之，不亦说乎？有朋自远方来，不亦乐乎？", "zh"),
    ("All human beings are born free and equal in dignity and rights. They are endowed with reason.", "en"),
    ("用 PyTorch 训练模型时，先调用 model.train()，再用 optimizer.step() 更新参数，每一步都要清零梯度。", "zh"),
    ("Please find attached the report. 请查收附件中的报告，有问题随时联系。 Let me know about it.", "mixed"),
    ("模型 GPT 的参数量是多少？我们在前一章里已经介绍过它的结构与训练方法，这里不再重复。", "zh"),
]  # fmt: skip


@pytest.mark.parametrize("text", OTHERS)
def test_what_is_neither(text: str) -> None:
    assert language(text)[0] == "other"


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_what_is_ours(text: str, expected: str) -> None:
    found, confidence = language(text)
    assert found == expected
    assert 0.65 <= confidence <= 1


@pytest.mark.parametrize("text", ["", " \n", "12345 67.8", "……！？", "🎉🎉", "\ud800"])
def test_a_text_without_letters_is_nothing(text: str) -> None:
    assert language(text) == ("other", 0.0)


@pytest.mark.parametrize(
    ("file", "expected"),
    [("text_zh/train/misc", "zh"), ("text_zh/train/news", "zh"), ("text_en/train/books", "en")],
)
def test_real_texts(data: Path, file: str, expected: str) -> None:
    texts = [row["text"] for row in islice(rows(data / f"{file}.jsonl.zst"), 300)]
    assert sum(language(text)[0] == expected for text in texts) >= 0.995 * len(texts)
