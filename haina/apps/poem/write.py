"""Writing: a wish → several poems that obey it, ranked.

A poem is asked for as the model has read verse: under a heading with form, title and poet. Candidates are drawn under
the law, so each is whole; then they are ranked by what the network says of them, how near they are to the theme, and
what they repeat. It knows what may be asked of an engine; it does not know how a law works, nor how poems are shown.
"""

from __future__ import annotations

import random
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from haina.apps.model import Model
from haina.apps.poem.anthology import Anthology
from haina.apps.poem.couplet import answers, parallel
from haina.apps.poem.explain import explain
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
PARALLEL = 0.3  # of nats by which the middle couplets of 律诗 answer each other (couplet.py)
MISREAD = 2.0  # times the share of characters that the form reads against their sense


@dataclass(frozen=True)
class Poem:
    """A poem and why it stands where it stands. text: with marks, a sentence a line. copied: lines found elsewhere.

    nats: of a character, by the network. theme: cosine with the theme, 0 without one. repeated: share of characters
    that came before. parallel: how well its middle couplets answer each other. misread: characters that the form reads
    against the sense of the word they stand in.
    """

    text: str
    form: Form
    nats: float
    theme: float
    repeated: float
    copied: tuple[str, ...]
    parallel: float
    misread: tuple[str, ...]

    @property
    def score(self) -> float:
        return (
            self.nats
            + THEME * self.theme
            - REPEATED * self.repeated
            - COPIED * len(self.copied) / len(self.form.lines)
            + PARALLEL * self.parallel
            - MISREAD * len(self.misread) / self.form.size
        )


# What is to be asked of the engine, all at once; the answers come back in the same order, each as its events. In the
# end there are poems. So whoever has an engine, in this thread or another, can write (`settled`, serve/poems.py).
Writing = Generator[Sequence[Asked], Sequence[Sequence[Event]], list[Poem]]


@dataclass(frozen=True)
class _Task:
    """What all candidates have in common. wanted: lines that do not count as copied. upper: the line to be answered."""

    heading: str
    form: Form
    theme: str = ""
    wanted: frozenset[str] = frozenset()
    upper: str = ""


class Poet:
    """A model that writes verse, of each poem so many drafts. It keeps what it has found out about its vocabulary."""

    def __init__(self, model: Model, *, drafts: int = DRAFTS):
        self.drafts = drafts
        self.context, self.tokenizer = model.context, model.tokenizer
        self.voice = Voice(model.tokenizer, model.checkpoint.config.vocab_size)
        self.banned = model.unspeakable_ids.union(model.tokenizer.character_mode or ())
        self.known = Known.shipped()

    def write(self, wish: Wish, *, theme: str = "", author: str = "", seed: int | None = None) -> Writing:
        """Poems that meet the wish, best first. ValueError: what cannot be met, or the theme is too long."""
        chance, theme = random.Random(seed), title(theme)
        author = " ".join(author.split())
        if len(author) > LONGEST_AUTHOR:
            raise ValueError(
                say(
                    f"the author's name has {len(author):,} characters; give one of up to {LONGEST_AUTHOR}",
                    f"作者名共 {len(author):,} 字；应在 {LONGEST_AUTHOR} 字以内",
                )
            )
        asked = laws(wish, self.voice.alphabet, chance)
        form = asked[0].form
        heading = _heading(form, theme, author)
        return self._written(_Task(heading, form, theme, _given_lines(asked[0])), asked, chance)

    def answer_couplet(self, first: str, *, seed: int | None = None) -> Writing:
        """Lower lines to an upper one, best first. ValueError: it is no line of verse."""
        law = answer_law(first, self.voice.alphabet)
        task = _Task(f"{first.strip(CLOSING)}，", law.form, upper="".join(HAN.findall(first)))
        return self._written(task, [law], random.Random(seed))

    def collect(self, wish: Wish, *, theme: str = "", seed: int | None = None) -> Writing:
        """Poems of lines by known poets (集句), best first. ValueError: there are none."""
        chance, theme = random.Random(seed), title(theme)
        law = laws(wish, None, chance)[0]
        self._room(self.voice.heading(_heading(law.form, theme, "")), law)
        found = Anthology.shipped().collect(law, theme, chance)
        form = law.form
        texts = [_marked(form, "".join(quotation.line for quotation in poem)) for poem in found]
        quoted = frozenset(quotation.line for poem in found for quotation in poem)
        return self._ranked(_Task(_heading(form, theme, ""), form, theme, quoted), texts)

    def _written(self, task: _Task, asked: Sequence[Law], chance: random.Random) -> Writing:
        ids = self.voice.heading(task.heading)
        requests = [self._request(ids, law, count, chance) for law, count in _shared(asked, self.drafts)]
        texts = [text for events in (yield requests) for text in self._texts(events)]
        return (yield from self._ranked(task, texts))

    def _ranked(self, task: _Task, texts: Sequence[str]) -> Writing:
        """Texts of one form as poems, best first."""
        texts = list(dict.fromkeys(texts))
        said = [self.voice.verse(text) for text in texts]
        at_once = max(1, min(4, self.context // (max(map(len, said)) + 64)))
        parts = [tuple(said[at : at + at_once]) for at in range(0, len(said), at_once)]
        scores = [Score(self.voice.heading(task.heading), part) for part in parts]
        embeds = [Embed(self.voice.heading(text)) for text in ([task.theme, *texts] if task.theme else [])]
        heard = yield [*scores, *embeds]
        nats = [value for events in heard[: len(scores)] for value in _scores(events)]
        vectors = [_vector(events) for events in heard[len(scores) :]]
        near = [float(vector @ vectors[0]) for vector in vectors[1:]] or [0.0] * len(texts)
        poems = [self._poem(task, *told) for told in zip(texts, nats, near, strict=True)]
        return sorted(poems, key=lambda poem: poem.score, reverse=True)

    def _poem(self, task: _Task, text: str, nats: float, theme: float) -> Poem:
        why = explain(task.form, text)
        assert why, "a poem outside its form"
        lines = lines_of(text)
        return Poem(
            text,
            task.form,
            nats / task.form.size,
            theme,
            _repeated(text),
            copied=tuple(line for line in lines if line in self.known and line not in task.wanted),
            parallel=answers(task.upper, "".join(lines)) if task.upper else parallel(task.form, lines),
            misread=why.misread,
        )

    def _request(self, heading: tuple[int, ...], law: Law, count: int, chance: random.Random) -> Request:
        return Request(
            heading,
            max_new_tokens=self._room(heading, law),
            sampling=replace(SAMPLING, seed=chance.getrandbits(32)),
            banned_ids=self.banned,
            constraint=self.voice.constraint(law),
            n=count,
            stop_loops=False,
        )

    def _room(self, heading: tuple[int, ...], law: Law) -> int:
        """The tokens that a poem may take. ValueError: the model's context does not hold them."""
        marks = sum(map(len, law.form.marks))
        longest = law.form.size + marks + 3 * len(law.given)  # a given character may be bytes
        if longest > self.context - len(heading):
            raise ValueError(
                say(
                    f"{law.form.name} of {law.form.size} characters is too long for this model; give it fewer --lines",
                    f"{law.form.name}共 {law.form.size} 字，超出该模型的上下文；请减小 --lines",
                )
            )
        return longest

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


def _given_lines(law: Law) -> frozenset[str]:
    """The lines that a person gave whole."""
    return frozenset("".join(law.given.get(at, "□") for at in line) for line in law.form.lines)


def _marked(form: Form, chars: str) -> str:
    return "".join(char + mark for char, mark in zip(chars, form.marks, strict=True))


def _shared(asked: Sequence[Law], drafts: int) -> Iterator[tuple[Law, int]]:
    """The drafts shared out among the laws, one each at least."""
    count = max(drafts, len(asked))
    for law, group in groupby(asked[i * len(asked) // count] for i in range(count)):
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
