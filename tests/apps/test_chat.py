"""One answer and the conversation around it, over a model whose words are known."""

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from haina.apps.chat import Chat, Settings, continuation, reply
from haina.apps.model import Model, open_model
from haina.engine.sampling import Sampling
from haina.options.talk import ChatOptions
from haina.text.messages import Message
from haina.text.tokenizer import Tokenizer

SAYS = "你好，我在这里。"
Speaker = Callable[..., Path]


@pytest.fixture(scope="module")
def model(speaker: Speaker) -> Model:
    return open_model(speaker(SAYS), ChatOptions(threads=1))


@pytest.fixture(scope="module")
def endless(speaker: Speaker) -> Model:
    return open_model(speaker("春眠不觉晓，", loop=True), ChatOptions(threads=1))


GREEDY = Settings(Sampling(temperature=0.0))
QUESTION = [Message("user", "你好")]


def test_an_answer_and_its_numbers(model: Model) -> None:
    made = reply(model, QUESTION, GREEDY)
    assert "".join(made) == SAYS == made.text
    assert made.finish == "stop" and made.dropped_rounds == 0
    assert made.prompt_tokens == 2 + len(model.tokenizer.encode("你好"))
    assert made.new_tokens == 1 + len(model.tokenizer.encode(SAYS))
    assert made.prefill_s > 0 and made.decode_s > 0


def test_a_stop_string_ends_the_answer(model: Model) -> None:
    made = reply(model, QUESTION, replace(GREEDY, stop=("在这",)))
    assert "".join(made) == "你好，我"
    assert made.finish == "stop" and not model.engine.busy


def test_the_longest_answer(endless: Model) -> None:
    made = reply(endless, QUESTION, replace(GREEDY, max_new_tokens=7))
    assert "".join(made).startswith("春眠不觉晓，")
    assert (made.new_tokens, made.finish) == (7, "length")


def test_an_answer_ends_with_the_context(endless: Model) -> None:
    made = reply(endless, QUESTION, replace(GREEDY, max_new_tokens=10_000))
    assert made.prompt_tokens + sum(1 for _ in iter(made)) - 1 == endless.context
    assert made.finish == "length"


def test_a_consumer_that_leaves_frees_the_engine(endless: Model) -> None:
    made = reply(endless, QUESTION, GREEDY)
    with closing(iter(made)) as pieces:
        for _ in range(3):
            next(pieces)
        assert endless.engine.busy
    assert made.finish == "cancelled" and made.new_tokens == 3
    assert not endless.engine.busy and endless.engine.pages.free == endless.engine.pages.count


def test_prefill_is_reported_and_can_be_left(speaker: Speaker) -> None:
    model = open_model(speaker(SAYS, context=1024), ChatOptions(threads=1))
    seen: list[tuple[int, int]] = []

    def leave(done: int, total: int) -> None:
        seen.append((done, total))
        raise KeyboardInterrupt

    made = reply(model, [Message("user", "夜" * 400)], replace(GREEDY, max_new_tokens=8), on_prefill=leave)
    with pytest.raises(KeyboardInterrupt):
        list(made)
    assert seen == [(0, made.prompt_tokens)]
    assert not model.engine.busy and model.engine.pages.free == model.engine.pages.count


def test_old_rounds_make_room(model: Model) -> None:
    talk = Chat("系统", [("你好" * 20, SAYS)] * 9)
    made = reply(model, talk.messages("你好"), replace(GREEDY, max_new_tokens=100))
    assert "".join(made) == SAYS
    assert 0 < made.dropped_rounds < 9
    assert made.prompt_tokens <= model.context - 100


def test_a_long_answer_leaves_half_of_the_context_to_the_prompt(model: Model) -> None:
    talk = Chat("", [("你好", SAYS)] * 10)
    made = reply(model, talk.messages("你好"), replace(GREEDY, max_new_tokens=10_000))
    assert made.dropped_rounds == 0 and made.prompt_tokens > 80


def test_a_message_that_cannot_fit(model: Model) -> None:
    longest = r"the newest message needs [\d,]+ tokens, but there is room for 128: shorten it$"
    with pytest.raises(ValueError, match=longest):
        reply(model, [Message("user", "你好" * 500)], GREEDY)
    talk = [Message("system", "你"), Message("user", "一" * 60)]
    assert reply(model, talk, replace(GREEDY, max_new_tokens=1)).prompt_tokens > 128
    cure = r"\(1 of them for the system text\).*128: shorten it or lower --max-new-tokens$"
    with pytest.raises(ValueError, match=cure):
        reply(model, talk, GREEDY)


def test_an_answer_holds_no_reserved_token(speaker: Speaker, vocabulary: bytes) -> None:
    """The network wants the reserved id 150 between two words: a chat rules it out, a continuation does not."""
    first, second = Tokenizer(vocabulary).encode("春。")
    model = open_model(speaker([first, 150, second]), ChatOptions(threads=1))
    assert "".join(reply(model, QUESTION, GREEDY)) == "春"
    assert "".join(continuation(model, "春", GREEDY)) == "。"


def test_a_base_model_continues_text_and_does_not_chat(speaker: Speaker) -> None:
    model = open_model(speaker(SAYS, chat=False), ChatOptions(threads=1))
    with pytest.raises(ValueError, match=r"base model .* haina run"):
        reply(model, QUESTION, GREEDY)
    made = continuation(model, "你好，", GREEDY)
    assert "".join(made) == "我在这里。"
    with pytest.raises(ValueError, match="the context is 256; shorten it"):
        continuation(model, "夜" * 400, GREEDY)


def test_settings_come_from_the_folder_and_from_the_person(model: Model) -> None:
    folder = Settings.of(model.checkpoint, ChatOptions())
    assert folder.sampling.temperature == 0.0 and folder.max_new_tokens == 256
    asked = Settings.of(model.checkpoint, ChatOptions(temperature=0.5, top_k=3, seed=7, max_new_tokens=9))
    assert asked == Settings(Sampling(temperature=0.5, top_k=3, seed=7), 9)
    with pytest.raises(ValueError, match="top_p = 2"):
        Settings.of(model.checkpoint, ChatOptions(top_p=2.0))


def test_a_wrong_generation_config(model: Model) -> None:
    wrong = replace(model.checkpoint, generation={"max_new_tokens": "many"})
    with pytest.raises(ValueError, match=r"generation_config.json: max_new_tokens = 'many'"):
        Settings.of(wrong, ChatOptions())


def test_a_conversation_is_the_same_after_saving() -> None:
    talk = Chat("你是诗人", [("你好", SAYS), ("再见", "")])
    again = Chat.from_json(json.loads(json.dumps(talk.to_json())), file="x.json")
    assert again == talk


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ({}, "not a list"),
        ([7], "message 1 needs a role and a text"),
        ([{"role": "root", "content": "x"}], "message 1 needs a role and a text"),
        ([{"role": "user", "content": ["x"]}], "message 1 needs a role and a text"),
        ([{"role": "user", "content": ""}, {"role": "assistant", "content": ""}], "message 1 needs"),
        ([{"role": "user", "content": "x"}], "do not take turns"),
        ([{"role": "assistant", "content": "x"}, {"role": "user", "content": "x"}], "do not take turns"),
        ([{"role": "user", "content": "x"}, {"role": "system", "content": "x"}], "do not take turns"),
        ([{"role": "user", "content": "\ud800"}, {"role": "assistant", "content": ""}], "not valid Unicode"),
    ],
)
def test_a_file_that_is_no_conversation(messages: object, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as error:
        Chat.from_json({"messages": messages}, file="x.json")
    assert str(error.value).startswith("x.json: ")


def test_no_torch(speaker: Speaker) -> None:
    code = f"import sys; sys.modules['torch'] = None; sys.argv = ['haina', 'run', {str(speaker(SAYS))!r}, '你好']\n"
    done = subprocess.run(
        [sys.executable, "-c", code + "from haina.cli.program import main; main()"], capture_output=True
    )
    assert (done.returncode, done.stdout.decode()) == (0, SAYS + "\n"), done.stderr


def test_every_eos_of_the_folder_ends_an_answer(speaker: Speaker) -> None:
    model = open_model(speaker(SAYS), ChatOptions(threads=1))
    first, *_, last = model.tokenizer.encode(SAYS)
    begun = model.tokenizer.decode([first])
    assert "".join(continuation(model, begun, GREEDY)) == SAYS.removeprefix(begun)
    model.checkpoint.generation["eos_token_id"] = [model.tokenizer.eos_id, last]
    for made in (continuation(model, begun, GREEDY), reply(model, QUESTION, GREEDY)):
        assert SAYS.endswith("".join(made) + model.tokenizer.decode([last])) and made.finish == "stop"
