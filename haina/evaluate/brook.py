"""The evaluation of haina-brook: figures that mean something at its size, each with its n and a 95 % interval.

Bits per byte of held-out text beside a 5-gram model's and the compressors'; choices, typed keys, verse, languages, chat
checks, loops; and how long one waits. Exams are reported, and claimed for nothing. Everything drawn is drawn with the
seed. What is measured in which order stands at the end; how, in the modules beside. It does not print.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

import haina
from haina.data.brook.prompts import checks, in_language
from haina.engine.request import Request
from haina.engine.sampling import Sampling
from haina.evaluate import asked, bits, choice, compress, ngram, texts
from haina.evaluate.bits import Document, Reader
from haina.evaluate.interval import Estimate, ratio, share
from haina.evaluate.ladder import landing
from haina.evaluate.speed import machine, waits
from haina.evaluate.subject import Answer, Subject
from haina.wording import say

Words = tuple[str, str]  # in English, in Chinese
Progress = Callable[[str, int, int], None]  # what is being measured, how much of it is done, and of how much


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    domain_bytes: int = 48_000
    document_characters: int = 2000
    choices: int = 300
    last_words: int = 200
    exam: int = 80
    typed: int = 100
    verses: int = 100
    questions: int = 100
    answer_tokens: int = 1100  # enough for the detector of loops
    seen_bytes: int = 2 << 20  # of each domain, that the compressors are given


QUICK = Sizes(6_000, 600, 60, 40, 12, 20, 20, 20, 300)


@dataclass(frozen=True)
class Figure:
    """A measured figure. goal: (≤ or ≥, what was asked), if something was."""

    measure: str
    of: str
    unit: str
    value: float
    low: float | None
    high: float | None
    n: int
    goal: tuple[str, float] | None = None
    note: Words = ("", "")

    @property
    def met(self) -> bool | None:
        if self.goal is None:
            return None
        sign, asked_for = self.goal
        return self.value <= asked_for if sign == "≤" else self.value >= asked_for


@dataclass
class Evaluation:
    """What has been measured so far. ValueError: the data pack is not there, or not whole."""

    subject: Subject
    data: Path
    run: Path | None
    sizes: Sizes
    seed: int
    progress: Progress
    whole: bool = True
    figures: list[Figure] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    samples: list[Answer] = field(default_factory=list)
    failed_checks: list[Answer] = field(default_factory=list)
    notes: list[Words] = field(default_factory=list)
    finished: bool = False

    def measure(self) -> None:
        """All of it; a Ctrl-C ends it with what is done."""
        asked.needs(self.data)
        try:
            for step in STEPS:
                for found in step(self):
                    self.figures.append(found)
        except KeyboardInterrupt:
            return
        self.finished = True

    def record(self) -> dict[str, Any]:
        """Everything, for JSON."""
        source = self.subject.checkpoint.manifest.source if self.subject.checkpoint.manifest else {}
        return {
            "model": source.get("name") or self.subject.checkpoint.folder.resolve().name,
            "parameters": self.subject.checkpoint.config.parameters,
            "tokenizer_sha256": self.subject.tokenizer.sha256,
            "haina": haina.__version__,
            "machine": machine(),
            "seed": self.seed,
            "sizes": asdict(self.sizes),
            "finished": self.finished,
            "figures": [asdict(figure) | {"met": figure.met} for figure in self.figures],
            "notes": self.notes,
            "failed_checks": [asdict(answer) for answer in self.failed_checks],
            "samples": [asdict(answer) for answer in self.samples],
        }

    def hears(self, en: str, zh: str) -> Callable[[int, int], None]:
        """Progress of one measure, under its name."""
        return lambda done, total: self.progress(say(en, zh), done, total)


def bits_per_byte(e: Evaluation) -> Iterator[Figure]:
    """Of each held-out domain, the network's, and unless it is to be quick, of those it has to beat."""
    e.progress(say("reading the held-out text", "读取验证集"), 0, 0)
    rows = texts.held_out(e.data, e.sizes.domain_bytes, e.sizes.document_characters)
    read = Reader(e.subject.tokenizer, e.subject.template)
    found = [(row, read(row, n)) for n, row in enumerate((r for some in rows.values() for r in some), 1)]
    documents = [document for _, document in found if document.bytes > 0]
    cost = bits.nats(e.subject, documents, e.hears("bits per byte", "每字节比特数"))
    for domain, chosen in _by_domain(documents):
        yield figure("bits", domain, "bits/byte", bits.per_byte(cost[chosen], [documents[n] for n in chosen]))
    if e.whole:
        plain = {name: "\n".join(map(texts.plain, some)).encode() for name, some in rows.items()}
        yield from _rivals(e, documents, cost, plain)


def _by_domain(documents: Sequence[Document]) -> Iterator[tuple[str, list[int]]]:
    for domain in dict.fromkeys(document.domain for document in documents):
        yield domain, [n for n, document in enumerate(documents) if document.domain == domain]


def _rivals(
    e: Evaluation, documents: Sequence[Document], cost: np.ndarray, held: dict[str, bytes]
) -> Iterator[Figure]:
    """The 5-gram model on the same tokens; the compressors on the same text."""
    training = _training(e, held)
    windows = np.concatenate([ngram.windows(d.ids, training.text.eos_id)[d.charged] for d in documents])
    nats = ngram.nats(training.text, windows, e.hears("5-gram model", "5-gram 模型"))
    number = np.repeat(np.arange(len(documents)), [int(d.charged.sum()) for d in documents])
    theirs = np.bincount(number, nats, len(documents))
    millions = f"{training.text.tokens / 1e6:.1f} M"
    trained = (f"trained on {millions} tokens", f"训练语料 {millions} 词元")
    for domain, chosen in _by_domain(documents):
        found = bits.per_byte(theirs[chosen], [documents[n] for n in chosen])
        yield figure("5-gram", domain, "bits/byte", found, note=trained)
    for domain, chosen in _by_domain(documents):
        goal = ("≤", 0.8) if training.whole else None
        yield figure("against 5-gram", domain, "×", ratio(cost[chosen], theirs[chosen]), goal=goal)
    yield from _compressed(e, training, held)


def _training(e: Evaluation, held: dict[str, bytes]) -> texts.Training:
    found = sorted(e.run.glob("**/tokens.json")) if e.run else []
    e.progress(say("reading the training text", "读取训练语料"), 0, 0)
    if found:
        return texts.of_tokens(found[0].parent, e.subject, held, e.sizes.seen_bytes)
    e.notes.append(
        (
            "The n-grams saw only a sample of the training text; with --run FOLDER they see all of its tokens/.",
            "n-gram 只用了部分训练语料；用 --run 指定含 tokens/ 的训练目录，即可用全部语料。",
        )
    )
    return texts.of_data(e.data, e.subject, e.sizes.seen_bytes)


def _compressed(e: Evaluation, training: texts.Training, held: dict[str, bytes]) -> Iterator[Figure]:
    rivals = {"xz -9": compress.xz}
    if compress.has_ppmd():
        rivals["PPMd"] = compress.ppmd
    else:
        e.notes.append(("PPMd: pip install 'haina[eval]'", "PPMd 对比需要：pip install 'haina[eval]'"))
    for name, rival in rivals.items():
        for done, (domain, text) in enumerate(held.items(), 1):
            seen = training.texts.get(domain, b"")
            found = 8 * rival(seen, text) / len(text)
            kilobytes = f"{len(seen) / 1e3:,.0f} kB"
            after = (f"after {kilobytes} of the domain", f"先见过该领域 {kilobytes}")
            yield Figure(name, domain, "bits/byte", found, None, None, 1, note=after)
            e.progress(name, done, len(held))


def ladder(e: Evaluation) -> Iterator[Figure]:
    """Whether the run landed where the ladder said, within 2 %."""
    found = landing(e.run, e.subject.checkpoint.config) if e.run else None
    if found:
        over = found.reached / found.predicted
        law = f"{found.formula}, C = {found.flops:.2g}: {found.predicted:.3f}; {found.reached:.3f}"
        yield Figure("ladder", "nats over predicted", "×", over, None, None, 1, ("≤", 1.02), (law, law))


def ccpm(e: Evaluation) -> Iterator[Figure]:
    items = choice.ccpm(e.data, e.sizes.choices, e.seed)
    hears, n = e.hears("CCPM", "CCPM 选句"), len(items)
    beyond = choice.correct(e.subject, items, hears)
    alone = choice.correct(e.subject, [replace(item, empty="") for item in items], hears)
    known = (
        "chance 25 %; all of valid: characters in common 75.6 %, BERT 85.0 %",
        "随机 25 %；全部验证集上：字面重合 75.6 %，BERT 85.0 %",
    )
    yield figure("CCPM", "beyond its own likelihood", "%", share(sum(beyond), n), note=known)
    yield figure("CCPM", "likelihood", "%", share(sum(alone), n))
    yield figure("CCPM", "characters in common", "%", share(choice.by_overlap(items), n))


def last_words(e: Evaluation) -> Iterator[Figure]:
    rows = texts.held_out(e.data, 1 << 20, 20_000)
    for language in ("zh", "en"):
        items = choice.last_words(map(texts.plain, rows[language]), language, e.sizes.last_words, e.seed)
        right = choice.correct(e.subject, items, e.hears("last words", "句末词"))
        if items:
            yield figure(
                "last word",
                language,
                "%",
                share(sum(right), len(items)),
                note=("chance 25 %", "随机 25 %"),
            )


def exams(e: Evaluation) -> Iterator[Figure]:
    for name in choice.EXAMS:
        items = choice.exam(e.data, name, e.sizes.exam, e.seed)
        right = choice.correct(e.subject, items, e.hears("exams", "考试题"))
        found = share(sum(right), len(items))
        at_chance = found.low <= 0.25 <= found.high
        note = (
            ("chance 25 %; no claim", "随机 25 %；不作任何宣称")
            if at_chance
            else ("chance 25 %", "随机 25 %")
        )
        yield figure("exam", name, "%", found, note=note)


def typed(e: Evaluation) -> Iterator[Figure]:
    """Keys, then ⏎, then what the network writes by itself: no table of readings holds it to the keys."""
    tokenizer = e.subject.tokenizer
    if tokenizer.character_mode is None:
        e.notes.append(("Typed keys: the vocabulary has no character mode.", "拼音转换：词表没有逐字模式。"))
        return
    pairs = asked.typed(e.data, e.sizes.typed, e.seed)
    ends = e.subject.template.stop_ids | {tokenizer.encode("\n", by_character=True)[-1]}
    requests = [
        Request(
            tuple(tokenizer.encode(keys, by_character=True)),
            len(meant) + 1,
            Sampling(temperature=0.0),
            ends,
            e.subject.banned_ids,
        )
        for keys, meant in pairs
    ]
    made = e.subject.generated(requests, e.hears("typed keys", "拼音转换"))
    said = [tokenizer.decode([t.id for t in tokens if t.id not in ends]) for tokens in made]
    lengths = np.array([max(len(meant), len(one)) for one, (_, meant) in zip(said, pairs, strict=True)])
    right = np.array([asked.alike(one, meant) for one, (_, meant) in zip(said, pairs, strict=True)])
    alone = ("greedy, without the app's table of readings", "贪心解码，未用输入法的读音表")
    yield figure("typed keys", "characters", "%", ratio(right * lengths, lengths, seed=e.seed), note=alone)
    yield figure("typed keys", "clauses", "%", share(float((right == 1).sum()), len(pairs)))


def verse(e: Evaluation) -> Iterator[Figure]:
    wanted = asked.verses(e.sizes.verses, e.seed)
    made = _answers(e, [one.prompt for one in wanted], 128, "verse", "绝句")
    hits = sum(one.fulfilled(answer.text) for one, answer in zip(wanted, made, strict=True))
    yield figure("verse", "form, unconstrained", "%", share(hits, len(wanted)), goal=("≥", 0.8))


def language(e: Evaluation) -> Iterator[Figure]:
    wanted = asked.questions(e.data, e.sizes.questions, e.seed)
    made = _answers(e, [one.asked for one in wanted], 192, "language", "语言")
    hits = sum(in_language(a.text, one.language) for one, a in zip(wanted, made, strict=True))
    yield figure("language", "as asked", "%", share(hits, len(wanted)), goal=("≥", 0.95))


def chat_checks(e: Evaluation) -> Iterator[Figure]:
    wanted = checks()
    made = _answers(e, [one.prompt for one in wanted], e.sizes.answer_tokens, "chat checks", "对话检查")
    e.failed_checks = [a for one, a in zip(wanted, made, strict=True) if not one.passed(a.text)]
    passed = len(wanted) - len(e.failed_checks)
    note = (f"{passed} of {len(wanted)}", f"{passed}/{len(wanted)}")
    yield figure("chat checks", "passed", "%", share(passed, len(wanted)), goal=("≥", 0.8), note=note)


def repetition(e: Evaluation) -> Iterator[Figure]:
    """Of all that was answered, with the twenty samples."""
    e.samples = _answers(e, asked.samples(), e.sizes.answer_tokens, "samples", "样例")
    hits = sum(answer.finish == "loop" for answer in e.answers)
    endless = sum(answer.finish == "length" for answer in e.answers)
    note = (f"{endless} more were cut off", f"另有 {endless} 个因过长被截断")
    yield figure("loops", "answers", "%", share(hits, len(e.answers)), goal=("≤", 0.02), note=note)


def _answers(e: Evaluation, prompts: list[str], most_tokens: int, en: str, zh: str) -> list[Answer]:
    made = e.subject.answers(prompts, most_tokens=most_tokens, seed=e.seed, progress=e.hears(en, zh))
    e.answers += made
    return made


def speed(e: Evaluation) -> Iterator[Figure]:
    first, pace = waits(e.subject, [one.prompt for one in checks()][:12], e.hears("speed", "速度"))
    ms = Estimate(first.value * 1e3, first.low * 1e3, first.high * 1e3, first.n)
    yield figure("speed", "first token", "ms", ms, goal=("≤", 50))
    yield figure("speed", "decode", "tokens/s", pace, goal=("≥", 200))


def figure(
    measure: str,
    of: str,
    unit: str,
    found: Estimate,
    *,
    goal: tuple[str, float] | None = None,
    note: Words = ("", ""),
) -> Figure:
    return Figure(measure, of, unit, found.value, found.low, found.high, found.n, goal, note)


STEPS: tuple[Callable[[Evaluation], Iterator[Figure]], ...] = (
    speed, chat_checks, verse, language, repetition, ccpm, last_words, typed, exams, ladder, bits_per_byte,
)  # fmt: skip
