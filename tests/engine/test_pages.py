"""Pages: lent, shared, found by their content, forgotten; and never two tenants' together."""

from __future__ import annotations

from haina.engine.pages import Pages, first_key, next_key


def named(pages: Pages, ids: list[int], tenant: str = "") -> tuple[list[int], list[bytes]]:
    """A text of full pages, read and given back."""
    key, keys = first_key(tenant), []
    for start in range(0, len(ids), pages.page_tokens):
        keys.append(key := next_key(key, ids[start : start + pages.page_tokens]))
    taken = pages.take(len(keys))
    assert taken is not None
    for page, name in zip(taken, keys, strict=True):
        pages.name(page, name)
    pages.give_back(taken)
    return taken, keys


def test_pages_are_lent_and_given_back() -> None:
    pages = Pages(4, 32)
    assert pages.needed(33) == 2 and pages.needed(0) == 0
    first = pages.take(2)
    assert first is not None and len(set(first)) == 2 and pages.free == 2
    assert pages.take(3) is None and pages.free == 2
    pages.give_back(first)
    assert pages.free == 4


def test_what_was_read_is_found_until_its_room_is_needed() -> None:
    pages = Pages(4, 2)
    taken, keys = named(pages, [1, 2, 3, 4])
    assert pages.free == 4 and [pages.find(key) for key in keys] == taken and pages.free == 2
    assert pages.take(3) is None  # nothing that somebody reads is taken away
    pages.give_back(taken)
    pages.take(3)
    assert pages.find(keys[0]) == taken[0], "the end of a text goes before its beginning"
    assert pages.find(keys[1]) is None


def test_the_least_recently_read_is_forgotten_first() -> None:
    pages = Pages(3, 1)
    (a, _), (key_a, *_) = named(pages, [1, 2])
    (b,), (key_b,) = named(pages, [3])
    pages.give_back([pages.find(key_a) or 0])  # read again
    pages.take(2)
    assert pages.find(key_b) is None and pages.find(key_a) == a and b != a


def test_the_first_page_with_a_name_stays_the_known_one() -> None:
    pages = Pages(2, 1)
    both = pages.take(2)
    assert both is not None
    for page in both:
        pages.name(page, b"same")
    pages.give_back(both)
    assert pages.find(b"same") == both[0] and pages.free == 1
    pages.forget()
    assert pages.find(b"same") == both[0], "somebody reads it"


def test_forget() -> None:
    pages = Pages(2, 1)
    _, keys = named(pages, [1, 2])
    pages.forget()
    assert pages.free == 2 and not any(pages.find(key) is not None for key in keys)


def test_names_depend_on_all_that_came_before_and_on_the_tenant() -> None:
    names = {
        next_key(next_key(first_key(tenant), before), [5])
        for tenant in ("", "a", "b")
        for before in ([1], [2], [1, 2])
    }
    assert len(names) == 9
    assert next_key(first_key("a"), [5]) == next_key(first_key("a"), [5])
