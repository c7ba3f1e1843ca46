"""The input method for programs: candidates for keys, a composition one types into, words that may come next.

    method = InputMethod.open()
    method.candidates("nihaoshijie")[0].text          # 你好世界
    typing = method.compose(context="我们在")
    typing.type("beijingjianmian"); typing.choose(typing.candidates()[0]); typing.commit()

A composition keeps what was chosen in part and re-ranks the rest behind it. What is committed is learnt if there is a
file of the user's words. It does not know terminals, HTTP or desktops.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from haina.apps.pinyin.decoder import Candidate, Decoder
from haina.apps.pinyin.keys import PAIRS, Spelling
from haina.apps.pinyin.learn import UserWords, spelled
from haina.apps.pinyin.lexicon import SPECIAL
from haina.apps.pinyin.prior import Language
from haina.native.lattice import STEP
from haina.wording import say

SCHEMES = ("full", "xiaohe", "ziranma", "microsoft")
BEFORE_RANKING = 24  # texts of all the keys that are looked for
WHOLE = 5  # of them, that stand before the words which the keys begin with
Ranker = Callable[
    [str, str, Sequence[Candidate]], list[Candidate]
]  # context, keys, candidates → in a better order


def spelling(scheme: str, fuzzy: str) -> Spelling:
    """How somebody types, by names. ValueError: there is no such scheme or pair of sounds."""
    if scheme not in SCHEMES:
        raise ValueError(
            say(
                f"no scheme {scheme!r}; there are {', '.join(SCHEMES)}",
                f"没有方案 {scheme!r}；可用：{'、'.join(SCHEMES)}",
            )
        )
    pairs = [pair.strip() for pair in fuzzy.split(",") if pair.strip()]
    swapped = {"/".join(reversed(pair.split("/"))): pair for pair in PAIRS}
    found = [swapped.get(pair, pair) for pair in pairs]
    for pair in found:
        if pair not in PAIRS:
            raise ValueError(
                say(
                    f"no pair of sounds {pair!r}; there are {', '.join(PAIRS)}",
                    f"没有模糊音 {pair!r}；可用：{'、'.join(PAIRS)}",
                )
            )
    return Spelling(scheme, frozenset(found))  # type: ignore[arg-type]


@dataclass
class InputMethod:
    """The language, how the user types, the words they have taught it, and perhaps a network that ranks."""

    language: Language
    spelling: Spelling
    user: UserWords | None = None
    ranker: Ranker | None = None

    @classmethod
    def open(
        cls, *, scheme: str = "full", fuzzy: str = "", user: Path | None = None, ranker: Ranker | None = None
    ) -> InputMethod:
        """ValueError: a wrong name, or a file that cannot be opened."""
        words = UserWords(user) if user else None
        return cls(Language.open(), spelling(scheme, fuzzy), words, ranker)

    def candidates(self, keys: str, context: str = "", top: int = 10) -> list[Candidate]:
        """Texts for all the keys, the likeliest first, then words that they begin with. ValueError: see `check`."""
        typing = self.compose(context)
        typing.type(keys)
        return typing.candidates(top)

    def compose(self, context: str = "") -> Composition:
        return Composition(self, context)

    def next_words(self, context: str, top: int = 10) -> list[Candidate]:
        """Words that are likely to follow, the likeliest first."""
        prior, trie = self.language.prior, self.language.trie
        words = self.language.words(context)
        found: dict[int, float] = {}
        if len(words) == 2 and (pair := _pair(self.language, *words)) is not None:
            at = int(np.searchsorted(prior.context, pair))
            if at < len(prior.context) and prior.context[at] == pair:
                start, end = prior.triple_start[at : at + 2].tolist()
                found |= _cheapest(prior.triple_word[start:end], prior.triple_cost[start:end], top)
        if words and words[-1] < len(prior.backoff):
            start, end = prior.pair_start[words[-1] : words[-1] + 2].tolist()
            more = _cheapest(prior.pair_word[start:end], prior.pair_cost[start:end], top)
            found |= {word: nats + 1 for word, nats in more.items() if word not in found}
        ranked = sorted(found.items(), key=lambda item: item[1])[:top]
        return [Candidate(trie.text(word), -nats, 0) for word, nats in ranked]


def _pair(language: Language, first: int, second: int) -> int | None:
    prior = language.prior
    if first >= len(prior.backoff):
        return None
    start, end = prior.pair_start[first : first + 2].tolist()
    at = start + int(np.searchsorted(prior.pair_word[start:end], second))
    return at if at < end and prior.pair_word[at] == second else None


def _cheapest(words: np.ndarray, costs: np.ndarray, top: int) -> dict[int, float]:
    order = np.argsort(costs, kind="stable")[: top + len(SPECIAL)]
    pairs = zip(words[order].tolist(), costs[order].tolist(), strict=True)
    return {word: cost * STEP for word, cost in pairs if word >= len(SPECIAL)}


class Composition:
    """One text being typed: what was chosen so far, and keys whose candidates are ranked behind it."""

    def __init__(self, method: InputMethod, context: str):
        self.method, self.context = method, context
        self.chosen: list[Candidate] = []
        self._keys: list[str] = []  # those that were there before each choice
        self._decoder = self._begin()

    @property
    def keys(self) -> str:
        """What is not chosen yet."""
        return self._decoder.keys

    @property
    def text(self) -> str:
        return "".join(candidate.text for candidate in self.chosen)

    def type(self, keys: str) -> None:
        """More keys behind those that are there. ValueError: control characters, too many."""
        self._decoder.type(self.keys + keys)

    def backspace(self) -> None:
        """The last key away; when there is none, the last choice is undone."""
        if self.keys:
            self._decoder.type(self.keys[:-1])
        elif self.chosen:
            self.chosen.pop()
            self._decoder = self._begin()
            self._decoder.type(self._keys.pop())

    def candidates(self, top: int = 10, *, quick: bool = False) -> list[Candidate]:
        """Whole texts, words that the keys begin with, more whole texts. quick: without asking the network."""
        if not self.keys:
            return []
        if quick or not self.method.ranker:
            return self.with_words(self._decoder.sentences(top), top)
        whole = self._decoder.sentences(BEFORE_RANKING)
        return self.with_words(self.method.ranker(self.context + self.text, self.keys, whole), top)

    def whole(self, keys: str) -> list[Candidate]:
        """Texts of all of these keys, the likeliest first. ValueError: as `type`."""
        self.type(keys)
        return self._decoder.sentences(BEFORE_RANKING)

    def with_words(self, whole: list[Candidate], top: int) -> list[Candidate]:
        """Texts of all keys with the words that the keys begin with behind the best of them."""
        said = {candidate.text for candidate in whole[:WHOLE]}
        words = [word for word in self._decoder.words(top) if word.text not in said]
        said |= {word.text for word in words}
        return [*whole[:WHOLE], *words, *(more for more in whole[WHOLE:] if more.text not in said)][:top]

    def words(self, top: int = 10) -> list[Candidate]:
        """Words that the keys begin with."""
        return self._decoder.words(top)

    def choose(self, candidate: Candidate) -> None:
        """Take a candidate for the keys that it stands for; the rest is ranked behind it."""
        rest = self.keys[candidate.keys :].lstrip("'")
        self._keys.append(self.keys)
        self.chosen.append(candidate)
        self._decoder = self._begin()
        self._decoder.type(rest)

    def commit(self) -> str:
        """The text, the best of what is not chosen yet included. It is learnt, and the context of what follows."""
        if self.keys:
            self.choose(self.candidates(1)[0])
        text = self.text
        if self.method.user:
            self.method.user.learn(_lessons(self.chosen))
        self.context += text
        self.chosen, self._keys = [], []
        self._decoder = self._begin()
        return text

    def _begin(self) -> Decoder:
        method = self.method
        user = method.user.trie(method.language) if method.user else None
        return Decoder(method.language, method.spelling, self.context + self.text, user)


def _lessons(chosen: list[Candidate]) -> list[tuple[str, list[str]]]:
    """What a commit teaches: each choice that is a word, and the words of a text put together from several."""
    texts = [candidate.text for candidate in chosen]
    return spelled([*texts, "".join(texts)] if len(texts) > 1 else texts)
