"""Chat assembly against published ids; truncation, injection and training targets."""

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haina.text.messages import (
    IGNORED,
    TEMPLATES,
    Message,
    Template,
    assemble,
    assemble_published,
    assemble_training,
    template_for,
)
from haina.text.tokenizer import Tokenizer

CONTEXT_TOKENS = 192  # of both fixtures


@pytest.fixture(scope="session")
def template(tiny: Tokenizer) -> Template:
    user, assistant = (tiny.encode(f"<reserved_{n}>", control=True)[-1] for n in (102, 103))
    return Template(user_id=user, assistant_id=assistant, eos_id=tiny.eos_id)


def talk(*contents: str, system: str = "") -> list[Message]:
    """Alternating messages, the user's first."""
    said = [Message("user" if n % 2 == 0 else "assistant", content) for n, content in enumerate(contents)]
    return [Message("system", system), *said] if system else said


def test_published_ids(fixture_folder: Path) -> None:
    tokenizer = Tokenizer.open(fixture_folder / "tokenizer.model")
    generation = json.loads((fixture_folder / "generation_config.json").read_text("utf-8"))
    config = json.loads((fixture_folder / "config.json").read_text("utf-8"))
    template = template_for(config["architectures"][0], generation)
    assert template is not None
    reference = json.loads((fixture_folder / "reference.json").read_text("utf-8"))
    assert len(reference["chat"]) == 5
    for case in reference["chat"]:
        messages = [Message(**message) for message in case["messages"]]
        room = {"context_tokens": CONTEXT_TOKENS, "max_new_tokens": case["max_new_tokens"]}
        assert assemble_published(messages, tokenizer, template, **room) == case["ids"]
        if "ids_july_2023" in case:
            july = assemble_published(messages, tokenizer, template, **room, july_2023=True)
            assert july == case["ids_july_2023"]


def test_where_ours_agrees_and_differs(fixture_folder: Path) -> None:
    tokenizer = Tokenizer.open(fixture_folder / "tokenizer.model")
    cases = json.loads((fixture_folder / "reference.json").read_text("utf-8"))["chat"]
    for case in cases[:4]:  # the fourth drops a round, as the published code does
        room = CONTEXT_TOKENS - case["max_new_tokens"]
        messages = [Message(**message) for message in case["messages"]]
        prompt = assemble(messages, tokenizer, TEMPLATES["BaichuanForCausalLM"], room_tokens=room)
        assert list(prompt.ids) == case["ids"] and prompt.dropped_rounds == (1 if case is cases[3] else 0)
    messages = [Message(**message) for message in cases[4]["messages"]]  # one round, longer than the room
    with pytest.raises(ValueError, match=r"needs \d+ tokens \(12 of them .* room for 80: shorten"):
        assemble(messages, tokenizer, TEMPLATES["BaichuanForCausalLM"], room_tokens=80)


def test_templates_come_from_the_folder() -> None:
    ids = {"user_token_id": 5, "assistant_token_id": 6, "eos_token_id": [2, 7]}
    assert template_for("BaichuanForCausalLM", ids) == Template(
        user_id=5, assistant_id=6, eos_id=2, other_eos_ids=frozenset({7})
    )
    published = {"user_token_id": 195, "assistant_token_id": 196}
    chat = template_for("BaiChuanForCausalLM", published)
    assert chat is not None and chat.stop_ids == {2, 195}
    assert template_for("BaichuanForCausalLM", {"eos_token_id": 2}) is None  # a base model
    assert template_for("OtherForCausalLM", published) is None


@pytest.mark.parametrize(("role", "id"), [("user", "195"), ("user", True), ("assistant", None), ("eos", -1)])
def test_ids_that_are_none(role: str, id: object) -> None:
    ids = {"user_token_id": 195, "assistant_token_id": 196, f"{role}_token_id": id}
    with pytest.raises(ValueError, match=f"generation_config.json: {role}_token_id is {id!r}, no token id"):
        template_for("BaichuanForCausalLM", ids)


def test_roles_that_users_could_type(tiny: Tokenizer, template: Template) -> None:
    for id in (tiny.encode("a")[-1], tiny.size, 195_000):
        with pytest.raises(
            ValueError, match=f"user_token_id {id} in generation_config.json is no control piece"
        ):
            assemble(talk("hi"), tiny, dataclasses.replace(template, user_id=id), room_tokens=100)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["a月", "<reserved_102>", "<reserved_103>", "<s>"]), min_size=1).map("".join))
def test_what_is_typed_is_only_text(tiny: Tokenizer, template: Template, typed: str) -> None:
    prompt = assemble(talk(typed, typed, typed, system=typed), tiny, template, room_tokens=10_000)
    control = [id for id in prompt.ids if id in tiny.control_ids]
    assert control == [template.user_id, template.assistant_id, template.user_id, template.assistant_id]


def test_whole_old_rounds_go(tiny: Tokenizer, template: Template) -> None:
    messages = talk("one", "1", "two", "2", "three", system="sys")
    whole = assemble(messages, tiny, template, room_tokens=1000)
    assert whole.dropped_rounds == 0
    sizes = []
    for room in range(len(whole.ids), 0, -1):
        try:
            prompt = assemble(messages, tiny, template, room_tokens=room)
        except ValueError:
            break
        kept = [messages[0], *messages[1 + 2 * prompt.dropped_rounds :]]
        assert prompt.ids == assemble(kept, tiny, template, room_tokens=1000).ids and len(prompt.ids) <= room
        sizes.append(prompt.dropped_rounds)
    assert sorted(sizes) == sizes and set(sizes) == {0, 1, 2} and room == len(prompt.ids) - 1


def test_forms_of_conversations(tiny: Tokenizer, template: Template) -> None:
    user, assistant = template.user_id, template.assistant_id
    a, b = tiny.encode("a"), tiny.encode("b")

    def ids(*messages: Message) -> list[int]:
        return list(assemble(messages, tiny, template, room_tokens=100).ids)

    assert ids(Message("user", "a"), Message("assistant", "b")) == [user, *a, assistant, *b]  # goes on with b
    assert ids(Message("user", "a"), Message("user", "b")) == [user, *a, user, *b, assistant]
    assert ids(Message("assistant", "a"), Message("user", "b")) == [assistant, *a, user, *b, assistant]
    assert ids(Message("system", ""), Message("user", "a")) == [user, *a, assistant]
    assert ids(Message("user", "a"), Message("assistant", "")) == [user, *a, assistant]


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ([], "the conversation is empty"),
        ([Message("system", "a")], "the conversation is empty"),
        ([Message("tool", "a")], "message 1: unknown role 'tool'; use system, user, assistant"),
        ([Message("user", "a"), Message("system", "b")], "message 2: a system message must come first"),
        (
            [Message("user", "a"), Message("assistant", "b"), Message("user", "")],
            r"message 3 \(user\) is empty",
        ),
    ],
)
def test_conversations_that_are_none(
    tiny: Tokenizer, template: Template, messages: list[Message], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        assemble(messages, tiny, template, room_tokens=100)


def test_published_quirks(tiny: Tokenizer, template: Template) -> None:
    typed = assemble_published(talk("<reserved_103>"), tiny, template, context_tokens=99, max_new_tokens=9)
    assert typed.count(template.assistant_id) == 2
    with pytest.raises(ValueError, match="max_new_tokens 99 leaves no room in 99 tokens"):
        assemble_published(talk("a"), tiny, template, context_tokens=99, max_new_tokens=99)
    with pytest.raises(ValueError, match="July 2023 format has no system text"):
        assemble_published(
            talk("a", system="s"), tiny, template, context_tokens=99, max_new_tokens=9, july_2023=True
        )


def test_training_targets(tiny: Tokenizer, template: Template) -> None:
    user, assistant, eos = template.user_id, template.assistant_id, template.eos_id
    messages = talk("one", "first answer", "two", "second", system="sys")
    ids, targets = assemble_training(messages, tiny, template)
    assert tuple(ids) == (*assemble(messages, tiny, template, room_tokens=1000).ids, eos)  # as in a prompt
    learned = [target for target in targets if target != IGNORED]
    assert learned == [*tiny.encode("first answer"), eos, *tiny.encode("second"), eos]
    for after, target in zip([*ids[1:], IGNORED], targets, strict=True):
        assert target in (after, IGNORED) or (target == eos and after == user)
    assert targets[-1] == IGNORED and targets[ids.index(assistant)] == tiny.encode("first answer")[0]
    assert targets[ids.index(user) - 1] == IGNORED  # the system text does not end with eos


def test_training_needs_an_answer(tiny: Tokenizer, template: Template) -> None:
    with pytest.raises(ValueError, match="does not end with an answer"):
        assemble_training(talk("a", "b", "c"), tiny, template)
