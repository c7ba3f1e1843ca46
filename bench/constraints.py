"""What a constraint costs: milliseconds a token besides the network and the sampler, over a vocabulary of 64,000.

The whole path is timed as a request takes it (`Generation.choose`): the state behind a token, whether it is over, what
it allows, the logits of that with their bias and the end of the text; and what a request without a constraint takes
for the same is subtracted. Every round takes the same walk, so that from the second on the states of rules are warm;
those of grammars and combinations keep what they allow for themselves, and are new on every walk.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path

import numpy as np

from bench.machine import Spread
from bench.report import Section, at_most
from bench.setup import Bench
from haina.engine.combine import And, Or, Seq, Weighted
from haina.engine.constraint import Constraint
from haina.engine.generation import Generation
from haina.engine.grammar import Grammars
from haina.engine.request import Request
from haina.engine.rule import Not, Rule, Text, Then, Until, Vocabulary
from haina.engine.sampler import Chosen, Sampler
from haina.engine.sampling import Sampling
from haina.text import spm
from haina.text.tokenizer import Tokenizer

VOCABULARY = 64_000
PUBLISHED = Path("baichuan", "baichuan_7b_tokenizer.rebuilt.model")  # in the data folder
STEPS = 48  # tokens chosen on a walk, besides forced ones
SAMPLED = Sampling(temperature=1, seed=1)
FEW = "的一是不了人我在有他这中大来上国个到说们为子和你地出道也时年得就那要下以生会自着去之过家学对可她里后"
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer", "minimum": 0},
        "tags": {"type": "array", "items": {"type": "string"}, "minItems": 3},
    },
    "required": ["name", "age", "tags"],
}
PLAIN, SPARSE = "no constraint", "sparse rule: lines of a few characters"


@dataclass(frozen=True)
class Lines(Rule):
    """Lines of seven of a few characters, without an end."""

    at: int = 0

    def step(self, char: str) -> Rule | None:
        return Lines((self.at + 1) % 8) if char in self.chars() else None

    def complete(self) -> bool:
        return self.at == 0

    def chars(self) -> Iterable[str]:
        return FEW if self.at < 7 else "，。"


class Untimed(Sampler):
    """Counts its own seconds, to be subtracted."""

    seconds = 0.0

    def choose(self, logits: np.ndarray, ids: np.ndarray | None = None) -> Chosen:
        start = time.perf_counter()
        chosen = super().choose(logits, ids)
        self.seconds += time.perf_counter() - start
        return chosen


def constraints(bench: Bench, data: Path) -> Section:
    """Milliseconds a token of rules, grammars and what is made of them. data: with the published tokenizer, or not."""
    tokenizer = Tokenizer.open(data / PUBLISHED) if (data / PUBLISHED).exists() else made_up()
    logits_V = np.random.default_rng(0).standard_normal(VOCABULARY).astype(np.float32)
    kinds = measured(tokenizer)
    found: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(bench.rounds + 1):
        for name, constraint in kinds.items():
            found[name].append(walk(constraint, logits_V, tokenizer.eos_id))
    plain = found.pop(PLAIN)
    added = {name: [a - b for a, b in zip(ms, plain, strict=True)] for name, ms in found.items()}
    warm = {name: Spread.of(ms[1:]) for name, ms in added.items()}
    rows = [[name, f"{added[name][0]:.3f}", exactly(warm[name])] for name in found]
    goals = [
        at_most(f"ms a token, {name}", spread, 0.06 if name == SPARSE else 1.0)
        for name, spread in warm.items()
    ]
    note = (
        f"{tokenizer.size} pieces. Medians of {STEPS} tokens, which without a constraint take "
        f"{statistics.median(plain):.3f} ms outside the network and the sampler. What a rule allows is kept for all "
        "requests; what a grammar or a combination does, with its state: each walk finds that anew."
    )
    return Section(
        "Constraints", note, ["constraint", "ms it adds at first", "from the second walk on"], rows, goals
    )


def measured(tokenizer: Tokenizer) -> dict[str, Constraint | None]:
    """By name; a wish is for what the constraint allows, and allows everything."""
    vocabulary = Vocabulary(tokenizer, VOCABULARY)
    grammars = Grammars(vocabulary)
    few = vocabulary.lift(Lines())
    many = vocabulary.lift(Not(Then(Until(Text("不好")), Not(None))))
    wish, other = (Weighted(part, nats, VOCABULARY) for part, nats in ((few, 2.0), (many, 1.0)))
    letters = grammars.regex("[a-z ]{400}")
    return {
        PLAIN: None,
        SPARSE: few,
        "dense rule: a text without a phrase": many,
        "a wish": other,
        "sparse rule and a wish": And((few, other)),
        "dense rule and a wish": And((many, wish)),
        "dense rule or a wish": Or((many, wish)),
        "a wish or another": Or((other, wish)),
        "dense rule, then a wish": Seq(many, wish),
        "JSON schema": grammars.json_schema(SCHEMA),
        "regular expression": letters,
        "one or another": Or((letters, grammars.regex("[a-z0-9 ]{400}"))),
    }


def walk(constraint: Constraint | None, logits_V: np.ndarray, eos_id: int) -> float:
    """Milliseconds a token, the median of a walk."""
    request = Request((1,), 10**6, SAMPLED, frozenset([eos_id]), constraint=constraint, stop_loops=False)
    sampler = Untimed(SAMPLED, np.array(request.ids), np.zeros(0, np.int32))
    writing = Generation(
        0,
        0,
        (0, 0),
        request,
        sampler=sampler,
        stop_ids=np.array([eos_id], np.int32),
        limit=10**6,
        head=lambda rows_MV, ids: rows_MV[:, ids],
    )
    each_ms: list[float] = []
    while len(each_ms) < STEPS and not writing.done:
        tokens, sampling_s, start = len(writing.line.ids), sampler.seconds, time.perf_counter()
        writing.choose(logits_V, hidden=writing.line.hidden)
        s = time.perf_counter() - start - (sampler.seconds - sampling_s)
        each_ms.append(1e3 * s / (len(writing.line.ids) - tokens))
    return statistics.median(each_ms)


def exactly(spread: Spread) -> str:
    return f"{spread.median:.3f} ({spread.low:.3f}–{spread.high:.3f})"


def made_up() -> Tokenizer:
    """As many pieces: letters, characters, and pairs and threes of them."""
    letters = "etaoinshrdlucmfwypvbgkjqxz"
    alphabet = ["▁", "，", "。", *letters, *"0123456789", *map(chr, range(0x4E00, 0x9FA6))]
    words = ("".join(chars) for n in (1, 2) for chars in product(["▁", *letters], *[letters] * n))
    pairs = (a + b for a, b in product(FEW, map(chr, range(0x4E00, 0x9FA6))))
    head = [("<unk>", 0.0, spm.UNKNOWN), ("<s>", 0.0, spm.CONTROL), ("</s>", 0.0, spm.CONTROL)]
    bytes_ = [(f"<0x{byte:02X}>", 0.0, spm.BYTE) for byte in range(256)]
    texts = dict.fromkeys([*alphabet, *words, *pairs])
    room = islice(texts, VOCABULARY - len(head) - len(bytes_))
    pieces = [(text, -float(rank), spm.NORMAL) for rank, text in enumerate(room)]
    return Tokenizer(
        spm.compose(
            [*head, *bytes_, *pieces],
            bos_id=1,
            eos_id=2,
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
        )
    )
