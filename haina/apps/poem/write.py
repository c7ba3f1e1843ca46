"""Writing: a wish → several poems that obey it, ranked.

A poem is asked for as the model has read verse: under a heading with form, title and poet. Candidates are drawn under
the law, so each is whole; then they are ranked by what the network says of them, how near they are to the theme, and
what they repeat. It knows the engine's verbs; it does not know how a law works, nor how poems are shown.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from haina.apps.model import Model
from haina.apps.poem.form import Form
from haina.apps.poem.known import Known
from haina.apps.poem.law import Law
from haina.apps.poem.plan import CLOSING, LONGEST_THEME, Wish, answer_law, laws
from haina.apps.poem.speak import Voice
from haina.engine.request import Request
from haina.engine.sampling import Sampling
from haina.text.characters import HAN
from haina.wording import say

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


class Poet:
    """A model that writes verse. It keeps what it has found out about its vocabulary."""

    def __init__(self, model: Model):
        self.model = model
        self.voice = Voice(model.tokenizer, model.checkpoint.config.vocab_size)
        self.known = Known.shipped()

    def write(
        self, wish: Wish, *, theme: str = "", author: str = "", seed: int | None = None, drafts: int = DRAFTS
    ) -> list[Poem]:
        """Poems that meet the wish, best first. ValueError: what cannot be met, or the theme is too long."""
        _check_theme(theme)
        chance = random.Random(seed)
        asked = laws(wish, self.voice.alphabet, chance)
        heading = self.voice.heading(_heading(asked[0].form, theme, author))
        texts = self._drawn(heading, asked, drafts, chance)
        return self.ranked(heading, asked[0].form, texts, theme)

    def answer_couplet(self, first: str, *, seed: int | None = None, drafts: int = DRAFTS) -> list[Poem]:
        """Lower lines to an upper one, best first. ValueError: it is no line of verse."""
        law = answer_law(first, self.voice.alphabet)
        heading = self.voice.heading(f"{first.strip().rstrip(CLOSING)}，")
        texts = self._drawn(heading, [law], drafts, random.Random(seed))
        return self.ranked(heading, law.form, texts, "")

    def ranked(self, heading: tuple[int, ...], form: Form, texts: Sequence[str], theme: str) -> list[Poem]:
        """Texts of one form as poems, best first."""
        texts = list(dict.fromkeys(texts))
        nats = self._nats(heading, [self.voice.verse(text) for text in texts])
        near = self._nearness(texts, theme) if theme else [0.0] * len(texts)
        poems = [
            Poem(
                text,
                form,
                total / form.size,
                cosine,
                _repeated(text),
                tuple(line for line in lines_of(text) if line in self.known),
            )
            for text, total, cosine in zip(texts, nats, near, strict=True)
        ]
        return sorted(poems, key=lambda poem: poem.score, reverse=True)

    def _nats(self, heading: tuple[int, ...], answers: Sequence[tuple[int, ...]]) -> list[float]:
        """What the network says of each answer, as many at once as there is room for."""
        pages = self.model.engine.pages
        most = 2 + max(map(len, answers)) // pages.page_tokens
        room = max(1, (pages.count - len(heading) // pages.page_tokens - 1) // most)
        parts = (answers[at : at + room] for at in range(0, len(answers), room))
        return [nats for part in parts for nats in self.model.engine.score(heading, part)]

    def _drawn(
        self, heading: tuple[int, ...], asked: Sequence[Law], drafts: int, chance: random.Random
    ) -> list[str]:
        requests = [self._request(heading, law, count, chance) for law, count in _shared(asked, drafts)]
        ids: dict[tuple[int, int], list[int]] = {}
        for token in self.model.engine.generate(requests):
            ids.setdefault((token.request, token.choice), []).append(token.id)
        return [self.model.tokenizer.decode(ids[key]).strip() for key in sorted(ids)]

    def _request(self, heading: tuple[int, ...], law: Law, count: int, chance: random.Random) -> Request:
        room = self.model.context - len(heading)
        longest = 4 * (law.form.size + sum(map(len, law.form.marks)))  # given characters may be bytes
        if longest // 2 > room:
            raise ValueError(
                say(
                    f"{law.form.name} of {law.form.size} characters is too long for this model; give it fewer --lines",
                    f"{law.form.name}共 {law.form.size} 字，超出该模型的上下文；请减小 --lines",
                )
            )
        return Request(
            heading,
            max_new_tokens=min(longest, room),
            sampling=replace(SAMPLING, seed=chance.getrandbits(32)),
            banned_ids=self.model.unspeakable_ids.union(self.model.tokenizer.character_mode or ()),
            constraint=self.voice.constraint(law),
            n=count,
            stop_loops=False,
        )

    def _nearness(self, texts: Sequence[str], theme: str) -> list[float]:
        """Cosines of each text and the theme."""
        rows = [self.voice.heading(theme), *(self.voice.heading(text) for text in texts)]
        vectors = self.model.engine.embed(rows)
        cosines: list[float] = (vectors[1:] @ vectors[0]).tolist()
        return cosines


def _shared(asked: Sequence[Law], drafts: int) -> Iterator[tuple[Law, int]]:
    """The drafts shared out among the laws."""
    for law, group in groupby(asked[i * len(asked) // drafts] for i in range(max(drafts, len(asked)))):
        yield law, len(list(group))


def _heading(form: Form, theme: str, author: str) -> str:
    """As poems are headed in what the model has read."""
    title = f"《{theme}》" if theme else ""
    return f"{form.name}{title}{author}\n"


def _check_theme(theme: str) -> None:
    if len(theme) > LONGEST_THEME:
        raise ValueError(
            say(
                f"the theme has {len(theme):,} characters; say it in up to {LONGEST_THEME}",
                f"主题共 {len(theme):,} 字，过长；请缩到 {LONGEST_THEME} 字以内",
            )
        )


def lines_of(text: str) -> list[str]:
    """The lines of a poem without their marks."""
    return ["".join(chars) for han, chars in groupby(text, lambda c: bool(HAN.match(c))) if han]


def _repeated(text: str) -> float:
    """The share of characters that came before; two side by side are meant."""
    chars = HAN.findall(text)
    apart = [char for i, char in enumerate(chars) if char not in chars[i - 1 : i]]
    return 1 - len(set(apart)) / len(apart) if apart else 0.0
