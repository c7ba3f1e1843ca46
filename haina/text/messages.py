"""Chat messages → ids, for prompts and for training; the formats of the families are rows of one table.

The published assembly (Baichuan-13B of August 2023, Baichuan 2) is `assemble_published`: exact, quirks
included, because reference values are made with it. `assemble` writes the same format with what people
expect of it: what a user types is only text, the system text and the role tokens stay, and when a
conversation is too long whole old rounds go and the caller learns how many.

Not known here: how long an answer may be, stop strings, sampling.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from haina.text.tokenizer import Tokenizer
from haina.wording import say

ROLES = ("system", "user", "assistant")
IGNORED = -100  # a target that is not learned: the ignore_index of PyTorch's cross_entropy


@dataclass(frozen=True)
class Message:
    """One message of a conversation. A system message comes first or not at all."""

    role: str  # of ROLES
    content: str
    by_character: bool = False  # in training: read in character mode (text/tokenizer.py)


@dataclass(frozen=True)
class Template:
    """A chat format in which each message follows the id of its role, and the system text has no marker."""

    user_id: int
    assistant_id: int
    eos_id: int
    other_eos_ids: frozenset[int] = frozenset()

    @property
    def stop_ids(self) -> frozenset[int]:
        """Where an answer ends: at any eos, or where the model goes on to the user's turn, as Baichuan does."""
        return self.other_eos_ids | {self.eos_id, self.user_id}


@dataclass(frozen=True)
class Prompt:
    """Ids that fit, and how many of the oldest rounds had to go for that."""

    ids: tuple[int, ...]
    dropped_rounds: int


BAICHUAN = Template(user_id=195, assistant_id=196, eos_id=2)
# architecture in config.json → format; from generation_utils.py (jrd77/Baichuan2-13B-Chat@d022d72)
TEMPLATES = {
    "BaiChuanForCausalLM": BAICHUAN,  # 7B
    "BaichuanForCausalLM": BAICHUAN,  # 13B, Baichuan 2
    "LlamaForCausalLM": BAICHUAN,  # "LLaMAfied" Baichuan; LLaMA itself has no role ids
    "LLaMAForCausalLM": BAICHUAN,
}


def template_for(config_architecture: str, generation: Mapping[str, Any]) -> Template | None:
    """The format of a folder: its row, with the ids of its generation_config.json; None for a base model.

    Released base models have no `user_token_id`. ValueError when an id is no id, or only one of the two is
    there.
    """
    row = TEMPLATES.get(config_architecture)
    user, assistant = generation.get("user_token_id"), generation.get("assistant_token_id")
    if row is None or (user is None and assistant is None):
        return None
    user, assistant = _id("user_token_id", user), _id("assistant_token_id", assistant)
    eos = eos_ids(generation, row.eos_id)
    return replace(row, user_id=user, assistant_id=assistant, eos_id=eos[0], other_eos_ids=frozenset(eos[1:]))


def eos_ids(generation: Mapping[str, Any], default: int) -> tuple[int, ...]:
    """The ids that end a text, by generation_config.json, which may name one or several. ValueError: no ids."""
    value = generation.get("eos_token_id")
    ids = [default] if value is None else value if isinstance(value, list) and value else [value]
    return tuple(_id("eos_token_id", id) for id in ids)


def _id(key: str, id: Any) -> int:
    if type(id) is not int or not 0 <= id < 1 << 24:
        raise ValueError(
            say(
                f"generation_config.json: {key} is {id!r}, no token id; restore the published file",
                f"generation_config.json：{key} 的值 {id!r} 不是词元编号；请恢复官方发布的文件",
            )
        )
    return id


def assemble(
    messages: Sequence[Message],
    tokenizer: Tokenizer,
    template: Template,
    *,
    room_tokens: int,
    most_tokens: int | None = None,
) -> Prompt:
    """The prompt of a conversation, at most `room_tokens` long; what is typed never becomes a role or
    control id.

    Rounds (a user message and what follows it) are kept newest first, while they fit whole; the system text
    is always kept. Messages of the same role may follow one another, each behind its own role id. An
    assistant message at the end is an answer begun, which the model goes on with; otherwise the assistant's
    id asks for one. Empty system and assistant messages are allowed.

    ValueError: no message but the system's, an unknown role, a system message that is not first, an empty
    user message, role ids that are not control pieces of the tokenizer, or a newest round that does not fit
    by itself. most_tokens: the room there would be for the shortest answer; where that is enough, the error
    says so.
    """
    _check(messages, tokenizer, template)
    system, rounds = _rounds(messages)
    first = tokenizer.encode(system)
    last = [] if messages[-1].role == "assistant" else [template.assistant_id]
    room = room_tokens - len(first) - len(last)
    kept: list[list[int]] = []
    for round in reversed(rounds):
        ids = [
            id
            for message in round
            for id in (_role_id(message, template), *tokenizer.encode(message.content))
        ]
        if len(ids) > room:
            break
        kept.append(ids)
        room -= len(ids)
    if not kept:
        raise ValueError(_too_long(len(first) + len(ids) + len(last), len(first), room_tokens, most_tokens))
    history = [id for ids in reversed(kept) for id in ids]
    return Prompt((*first, *history, *last), len(rounds) - len(kept))


def assemble_published(
    messages: Sequence[Message],
    tokenizer: Tokenizer,
    template: Template,
    *,
    context_tokens: int,
    max_new_tokens: int,
    july_2023: bool = False,
) -> list[int]:
    """The ids of the published code, `build_chat_input` (jrd77/Baichuan2-13B-Chat@d022d72
    `generation_utils.py`).

    Quirks: a typed literal becomes its id; a prompt that is too long is cut from the left, system text and
    role id first. `july_2023` is the first version for Baichuan-13B-Chat: eos after each answer, no system
    text, at least half of the context for the prompt, the assistant's id always added, and after the cut.

    ValueError: a role it does not know, or no room (there the published code returns an arbitrary part).
    """
    _check_roles(messages)
    system, rounds = _rounds(messages)
    room = context_tokens - max_new_tokens
    if july_2023:
        if system:
            raise ValueError(
                say("the July 2023 format has no system text", "2023 年 7 月的格式不支持系统提示")
            )
        room = max(room, context_tokens // 2)
    if room <= 0:
        raise ValueError(
            say(
                f"max_new_tokens {max_new_tokens:,} leaves no room in {context_tokens:,} tokens; lower it",
                f"上下文共 {context_tokens:,} 词元，全被 max_new_tokens {max_new_tokens:,} 占用，请调小",
            )
        )
    first = tokenizer.encode(system, control=True)
    history: list[int] = []
    for round in reversed(rounds):
        ids: list[int] = []
        for message in round:
            ids += [_role_id(message, template), *tokenizer.encode(message.content, control=True)]
            ids += [template.eos_id] if july_2023 and message.role == "assistant" else []
        if history and len(history) + len(ids) > room - len(first):
            break
        history = ids + history
        if len(history) >= room - len(first):
            break
    if july_2023:
        return [*history[-room:], template.assistant_id]
    last = [] if messages[-1].role == "assistant" else [template.assistant_id]
    return [*first, *history, *last][-room:]


def assemble_training(
    messages: Sequence[Message], tokenizer: Tokenizer, template: Template
) -> tuple[list[int], list[int]]:
    """(ids, targets), equally long: targets[i] is what the model shall say after ids[: i + 1], or IGNORED.

    Learned are the tokens of each answer and eos after its last one, although the user's id goes on there
    in `ids` (baichuan-inc/Baichuan2 `fine-tune/fine-tune.py`; "efficient eos"): so the model learns to
    stop, and conversations look as they do in a prompt. The last answer is followed by eos in `ids` too.
    Raises what `assemble` raises, and ValueError when the conversation does not end with an answer.
    """
    _check(messages, tokenizer, template)
    if messages[-1].role != "assistant":
        raise ValueError(
            say(
                "the conversation does not end with an answer; add one or cut it",
                "对话没有以回答结尾，请补上或截断",
            )
        )
    ids: list[int] = []
    targets: list[int] = []  # of the token before: moved by one at the end
    answered = False  # the message before was an answer
    for message in messages:
        content = tokenizer.encode(message.content, by_character=message.by_character)
        answer = message.role == "assistant"
        if message.role != "system":
            ids.append(_role_id(message, template))
            targets.append(template.eos_id if answered and not answer else IGNORED)
        ids += content
        targets += content if answer else [IGNORED] * len(content)
        answered = answer
    return [*ids, template.eos_id], [*targets[1:], template.eos_id, IGNORED]


def _role_id(message: Message, template: Template) -> int:
    return template.user_id if message.role == "user" else template.assistant_id


def _rounds(messages: Sequence[Message]) -> tuple[str, list[list[Message]]]:
    """(system text, rounds): each user message begins a round; what comes before the first is one, too."""
    system = messages[0].content if messages and messages[0].role == "system" else ""
    rounds: list[list[Message]] = []
    for message in messages:
        if message.role == "user" or (message.role == "assistant" and not rounds):
            rounds.append([])
        if message.role != "system":
            rounds[-1].append(message)
    return system, rounds


def _check(messages: Sequence[Message], tokenizer: Tokenizer, template: Template) -> None:
    _check_roles(messages)
    for number, message in enumerate(messages, start=1):
        if message.role == "user" and not message.content:
            raise ValueError(
                say(
                    f"message {number} (user) is empty; write something or leave it out",
                    f"第 {number} 条消息（user）为空，请填写内容或去掉",
                )
            )
    for name, id in (("user", template.user_id), ("assistant", template.assistant_id)):
        if id not in tokenizer.control_ids:
            raise ValueError(
                say(
                    f"{tokenizer.file}: {name}_token_id {id} in generation_config.json is no control piece "
                    f"({tokenizer.piece(id)!r} of {tokenizer.size:,} pieces); use files that belong together",
                    f"{tokenizer.file}：generation_config.json 的 {name}_token_id {id} 在此不是控制词元"
                    f"（{tokenizer.piece(id)!r}，共 {tokenizer.size:,} 个词元）；请使用配套的文件",
                )
            )


def _check_roles(messages: Sequence[Message]) -> None:
    for number, message in enumerate(messages, start=1):
        if message.role not in ROLES:
            raise ValueError(
                say(
                    f"message {number}: unknown role {message.role!r}; use {', '.join(ROLES)}",
                    f"第 {number} 条消息的角色 {message.role!r} 未知；可用：{'、'.join(ROLES)}",
                )
            )
        if message.role == "system" and number > 1:
            raise ValueError(
                say(
                    f"message {number}: a system message must come first",
                    f"第 {number} 条消息：system 消息必须放在最前面",
                )
            )
    if not any(message.role != "system" for message in messages):
        raise ValueError(say("the conversation is empty; add a user message", "对话为空，请添加用户消息"))


def _too_long(needed_tokens: int, system_tokens: int, room_tokens: int, most_tokens: int | None) -> str:
    en, zh = "", ""
    if system_tokens:
        en = f" ({system_tokens:,} of them for the system text)"
        zh = f"（其中系统提示 {system_tokens:,} 个）"
    cure = say("shorten it", "请缩短内容")
    if needed_tokens <= (most_tokens or 0):
        cure += say(" or lower --max-new-tokens", "，或调小 --max-new-tokens")
    return say(
        f"the newest message needs {needed_tokens:,} tokens{en}, but there is room for {room_tokens:,}: {cure}",
        f"最新一条消息需要 {needed_tokens:,} 个词元{zh}，而可用空间只有 {room_tokens:,} 个：{cure}",
    )
