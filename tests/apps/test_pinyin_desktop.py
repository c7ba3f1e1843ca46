"""The keyboard of a desktop: what is shown and what is committed, with a service that answers from a table."""

from typing import Any

from haina.apps.pinyin.desktop import Keyboard, Shown

TABLE = {
    "nihao": [("你好", 5), ("尼豪", 5), ("你", 2)],
    "ni": [("你", 2), ("呢", 2)],
    "hao": [("好", 3), ("号", 3)],
}
BETTER = {"nihao": [("拟好", 5)]}


class Desk:
    """A keyboard, what it was asked and what it said."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.said = ""
        self.taught: list[str] = []
        self.keyboard = Keyboard(self.ask, self.say, self.taught.extend)

    def ask(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        self.asked.append(body)
        found = TABLE if body["quick"] else BETTER
        return [{"text": text, "keys": keys, "score": 0.0} for text, keys in found.get(body["keys"], [])]

    def say(self, text: str) -> None:
        self.said += text

    def press(self, *keys: str) -> list[bool]:
        return [self.keyboard.press(key) for key in keys]


def test_space_takes_the_first_candidate_and_it_becomes_context() -> None:
    desk = Desk()
    assert all(desk.press(*"nihao"))
    assert desk.keyboard.shown() == Shown("nihao", ("你好", "尼豪", "你"), 0)
    desk.press("space", *"ni")
    assert desk.said == "你好"
    assert desk.asked[-1]["context"] == "你好"


def test_a_digit_takes_a_part_and_the_rest_goes_on_behind_it() -> None:
    desk = Desk()
    desk.press(*"nihao", "3")
    assert desk.keyboard.shown() == Shown("你hao", ("好", "号"), 0) and desk.said == ""
    desk.press("BackSpace", "BackSpace", "BackSpace")
    assert desk.keyboard.keys == "ni"
    desk.press("Escape", *"nihao", "3", "Down", "space")
    assert desk.said == "你号"
    assert desk.taught == ["你", "号", "你号"]


def test_return_types_the_letters_and_punctuation_commits() -> None:
    desk = Desk()
    desk.press(*"nihao", "Return", *"nihao", ",")
    assert desk.said == "nihao你好，"
    assert desk.press("x", "Escape", "Escape", "5", "F5") == [True, True, False, False, False]


def test_the_network_does_not_move_what_is_being_chosen() -> None:
    desk = Desk()
    desk.press(*"nihao")
    assert desk.keyboard.better() and desk.keyboard.shown().candidates == ("拟好",)
    desk.press("Escape", *"nihao", "Down")
    assert not desk.keyboard.better() and desk.keyboard.shown().candidates[0] == "你好"


def test_without_a_service_the_letters_are_typed() -> None:
    said: list[str] = []
    keyboard = Keyboard(lambda body: [], said.append)
    for key in (*"abc", "space"):
        keyboard.press(key)
    assert said == ["abc"]
