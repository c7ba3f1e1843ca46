"""Writing: a wish → several poems that obey it, ranked.

A poem is asked for as the model has read verse: under a heading with form, title and poet. Candidates are drawn under
the law, so each is whole; then they are ranked by what the network says of them, how near they are to the theme, and
what they repeat. It knows what may be asked of an engine; it does not know how a law works, nor how poems are shown.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from haina.apps.model import Model
from haina.apps.poem.anthology import Anthology
from haina.apps.poem.form import Form
from haina.apps.poem.known import Known
from haina.apps.poem.law import Law
from haina.apps.poem.plan import CLOSING, Wish, answer_law, laws
from haina.apps.poem.speak import Voice
from haina.apps.poem.theme import title
from haina.engine.engine import Engine
from haina.engine.request import Asked, Embed, Event, Request, Score, Scores, Token, Vector
from haina.engine.sampling import Sampling
from haina.text.characters import HAN
from haina.wording import say

LONGEST_AUTHOR = 8
DRAFTS = 8  # candidates drawn; the more, the better the best
SAMPLING = Sampling(temperature=0.75, top_p=0.9, presence_penalty=1.0)
# What a poem is ranked by, in nats a character: the network's own score counts 1.
THEME = 2.0  # of the cosine of its vector and the theme's
REPEATED = 0.5  # times the share of its characters that it has already
COPIED = 3.0  # times the share of its lines that somebody else wrote


@dataclass(frozen=True)
class Poem:
    """A poem and why it stands where it stands. text: with marks, a sentence a line. copied: lines found elsewhere.

    nats: of a character, by the network. theme: cosine with the theme, 0 without one. repeated: share of characters
    that came before.
    """

    text: str
    form: Form
    nats: float
    theme: float
    repeated: float
    copied: tuple[str, ...]

    @property
    def score(self) -> float:
        return (
            self.nats
            + THEME * self.theme
            - REPEATED * self.repeated
            - COPIED * len(self.copied) / len(self.form.lines)
        )


# What is to be asked of the engine, all at once; the answers come back in the same order, each as its events. In the
# end there are poems. So whoever has an engine, in this thread or another, can write (`settled`, serve/poems.py).
Writing = Generator[Sequence[Asked], Sequence[Sequence[Event]], list[Poem]]


class Poet:
    """A model that writes verse. It keeps what it has found out about its vocabulary."""

    def __init__(self, model: Model):
        self.context, self.tokenizer = model.context, model.tokenizer
        self.voice = Voice(model.tokenizer, model.checkpoint.config.vocab_size)
        self.banned = model.unspeakable_ids.union(model.tokenizer.character_mode or ())
        self.known = Known.shipped()

    def write(self, wish: Wish, *, theme: str = "", author: str = "", seed: int | None = None) -> Writing:
        """Poems that meet the wish, best first. ValueError: what cannot be met, or the theme is too long."""
        chance, theme = random.Random(seed), title(theme)
        asked = laws(wish, self.voice.alphabet, chance)
        heading = _heading(asked[0].form, theme, author[:LONGEST_AUTHOR])
        return self._written(heading, asked, theme, chance)

    def answer_couplet(self, first: str, *, seed: int | None = None) -> Writing:
        """Lower lines to an upper one, best first. ValueError: it is no line of verse."""
        law = answer_law(first, self.voice.alphabet)
        return self._written(f"{first.strip(CLOSING)}，", [law], "", random.Random(seed))

    def collect(self, wish: Wish, *, theme: str = "", seed: int | None = None) -> Writing:
        """Poems of lines by known poets (集句), best first. ValueError: there are none."""
        chance, theme = random.Random(seed), title(theme)
        law = laws(wish, None, chance)[0]
        found = Anthology.shipped().collect(law, theme, chance)
        form = law.form
        texts = [_marked(form, "".join(quotation.line for quotation in poem)) for poem in found]
        quoted = {quotation.line for poem in found for quotation in poem}
        return self._ranked(_heading(form, theme, ""), form, texts, theme, quoted)

    def _written(self, heading: str, asked: Sequence[Law], theme: str, chance: random.Random) -> Writing:
        ids = self.voice.heading(heading)
        requests = [self._request(ids, law, count, chance) for law, count in _shared(asked, DRAFTS)]
        texts = [text for events in (yield requests) for text in self._texts(events)]
        return (yield from self._ranked(heading, asked[0].form, texts, theme, _given_lines(asked[0])))

    def _ranked(
        self, heading: str, form: Form, texts: Sequence[str], theme: str, wanted: Collection[str]
    ) -> Writing:
        """Texts of one form as poems, best first. `wanted` lines are not counted as copied."""
        texts = list(dict.fromkeys(texts))
        answers = [self.voice.verse(text) for text in texts]
        at_once = max(1, min(4, self.context // (max(map(len, answers)) + 64)))
        parts = [tuple(answers[at : at + at_once]) for at in range(0, len(answers), at_once)]
        scores = [Score(self.voice.heading(heading), part) for part in parts]
        embeds = [Embed(self.voice.heading(text)) for text in ([theme, *texts] if theme else [])]
        heard = yield [*scores, *embeds]
        nats = [value for events in heard[: len(scores)] for value in _scores(events)]
        vectors = [_vector(events) for events in heard[len(scores) :]]
        near = [float(vector @ vectors[0]) for vector in vectors[1:]] or [0.0] * len(texts)
        copied = [
            tuple(line for line in lines_of(t) if line in self.known and line not in wanted) for t in texts
        ]
        poems = [
            Poem(text, form, total / form.size, cosine, _repeated(text), lines)
            for text, total, cosine, lines in zip(texts, nats, near, copied, strict=True)
        ]
        return sorted(poems, key=lambda poem: poem.score, reverse=True)

    def _request(self, heading: tuple[int, ...], law: Law, count: int, chance: random.Random) -> Request:
        marks = sum(map(len, law.form.marks))
        longest = law.form.size + marks + 3 * len(law.given)  # a given character may be bytes
        if longest > self.context - len(heading):
            raise ValueError(
                say(
                    f"{law.form.name} of {law.form.size} characters is too long for this model; give it fewer --lines",
                    f"{law.form.name}共 {law.form.size} 字，超出该模型的上下文；请减小 --lines",
                )
            )
        return Request(
            heading,
            max_new_tokens=longest,
            sampling=replace(SAMPLING, seed=chance.getrandbits(32)),
            banned_ids=self.banned,
            constraint=self.voice.constraint(law),
            n=count,
            stop_loops=False,
        )

    def _texts(self, events: Sequence[Event]) -> list[str]:
        """The answers of a request."""
        ids: dict[int, list[int]] = {}
        for event in events:
            assert isinstance(event, Token)
            if event.finish == "error":
                raise ValueError(event.error)
            ids.setdefault(event.choice, []).append(event.id)
        return [self.tokenizer.decode(ids[choice]).strip() for choice in sorted(ids)]


def settled(engine: Engine, writing: Writing) -> list[Poem]:
    """The poems, by an engine of this thread. ValueError: as the writing."""
    try:
        asked = next(writing)
        while True:
            asked = writing.send(_answers(engine, asked))
    except StopIteration as end:
        poems: list[Poem] = end.value
        return poems


def _answers(engine: Engine, asked: Sequence[Asked]) -> list[list[Event]]:
    """The events of each request, all served side by side."""
    heard: dict[int, list[Event]] = {engine.add(one): [] for one in asked}
    while any(map(engine.serves, heard)) or engine.busy:
        for event in engine.step():
            heard[event.request].append(event)
    return list(heard.values())


def _scores(events: Sequence[Event]) -> tuple[float, ...]:
    (scores,) = events
    assert isinstance(scores, Scores)
    if scores.error:
        raise ValueError(scores.error)
    return scores.nats


def _vector(events: Sequence[Event]) -> np.ndarray:
    (vector,) = events
    assert isinstance(vector, Vector)
    if vector.error:
        raise ValueError(vector.error)
    return vector.vector_D


def _given_lines(law: Law) -> set[str]:
    """The lines that a person gave whole."""
    return {"".join(law.given.get(at, "□") for at in line) for line in law.form.lines}


def _marked(form: Form, chars: str) -> str:
    return "".join(char + mark for char, mark in zip(chars, form.marks, strict=True))


def _shared(asked: Sequence[Law], drafts: int) -> Iterator[tuple[Law, int]]:
    """The drafts shared out among the laws."""
    for law, group in groupby(asked[i * len(asked) // drafts] for i in range(max(drafts, len(asked)))):
        yield law, len(list(group))


def _heading(form: Form, theme: str, author: str) -> str:
    """As poems are headed in what the model has read."""
    about = f"《{theme}》" if theme else ""
    return f"{form.name}{about}{author}\n"


def lines_of(text: str) -> list[str]:
    """The lines of a poem without their marks."""
    return ["".join(chars) for han, chars in groupby(text, lambda c: bool(HAN.match(c))) if han]


def _repeated(text: str) -> float:
    """The share of characters that came before; two side by side are meant."""
    chars = HAN.findall(text)
    apart = [char for i, char in enumerate(chars) if char not in chars[i - 1 : i]]
    return 1 - len(set(apart)) / len(apart) if apart else 0.0
