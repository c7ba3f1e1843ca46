"""What is evaluated: a network behind its engine, asked in batches for answers and for the nats of given texts.

It knows the chat format and which ids are no text; it does not know what is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice

from haina.checkpoint.checkpoint import Checkpoint
from haina.engine.engine import Engine
from haina.engine.request import Finish, Request, Score, Scores, Token
from haina.engine.sampling import Sampling
from haina.text.messages import BAICHUAN, Message, Template, assemble, template_for
from haina.text.tokenizer import Tokenizer

AT_ONCE = 16  # requests in the engine
Progress = Callable[[int, int], None]  # how many are done, and of how many


@dataclass(frozen=True)
class Answer:
    """What was said to a prompt, in how many tokens, and why it ended."""

    prompt: str
    text: str
    tokens: int
    finish: Finish


@dataclass(frozen=True)
class Subject:
    """`context`: the tokens that a prompt and its answer may have together."""

    checkpoint: Checkpoint
    engine: Engine
    context: int

    @property
    def tokenizer(self) -> Tokenizer:
        return self.checkpoint.tokenizer

    @cached_property
    def template(self) -> Template:
        """The chat format; of a base model Baichuan's, which its ids are kept free for."""
        return template_for(self.checkpoint.config.architecture, self.checkpoint.generation) or BAICHUAN

    @cached_property
    def banned_ids(self) -> frozenset[int]:
        """Ids that are no text, as in a chat: into and out of character mode a model may go by itself."""
        control = self.tokenizer.control_ids.difference(self.tokenizer.character_mode or ())
        padding = range(self.tokenizer.size, self.checkpoint.config.vocab_size)
        return control.union(padding) - self.template.stop_ids

    @property
    def sampling(self) -> Sampling:
        """As generation_config.json asks for."""
        return Sampling.from_generation(self.checkpoint.generation)

    def question(self, prompt: str, most_tokens: int, seed: int) -> Request:
        """One question of a chat, with as many new tokens as asked for or as there is room."""
        room = self.context // 2
        ids = assemble([Message("user", prompt)], self.tokenizer, self.template, room_tokens=room).ids
        new = min(most_tokens, self.context - len(ids))
        sampling = replace(self.sampling, seed=seed)
        return Request(ids, new, sampling, self.template.stop_ids, self.banned_ids)

    def answers(
        self, prompts: Sequence[str], *, most_tokens: int, seed: int, progress: Progress
    ) -> list[Answer]:
        """An answer to each prompt, drawn as a chat draws them; the n-th with seed + n."""
        asked = [self.question(prompt, most_tokens, seed + n) for n, prompt in enumerate(prompts)]
        made = zip(prompts, self.generated(asked, progress), strict=True)
        return [
            Answer(prompt, self.tokenizer.decode([t.id for t in tokens]), len(tokens), _finish(tokens))
            for prompt, tokens in made
        ]

    def generated(self, asked: Sequence[Request], progress: Progress) -> list[list[Token]]:
        """The tokens of each request. ValueError when one is refused, or fails."""
        found: list[list[Token]] = []
        for some in _batches(asked):
            tokens: dict[int, list[Token]] = {}
            for token in self.engine.generate(some):
                tokens.setdefault(token.request, []).append(token)
            found += [tokens[number] for number in sorted(tokens)]
            progress(len(found), len(asked))
        return found

    def scores(self, asked: Iterable[Score]) -> Iterator[Scores]:
        """The nats of each, in order. ValueError when one is refused, or fails."""
        for some in _batches(asked):
            numbers = [self.engine.add(one) for one in some]
            found: dict[int, Scores] = {}
            while len(found) < len(some):
                for event in self.engine.step():
                    assert isinstance(event, Scores)
                    if event.error:
                        raise ValueError(event.error)
                    found[event.request] = event
            yield from (found[number] for number in numbers)


def _finish(tokens: list[Token]) -> Finish:
    finish = tokens[-1].finish
    assert finish is not None
    return finish


def _batches(asked: Iterable[object]) -> Iterator[list]:  # type: ignore[type-arg]
    """Some at a time; `itertools.batched` comes with Python 3.12."""
    left = iter(asked)
    while some := list(islice(left, AT_ONCE)):
        yield some
