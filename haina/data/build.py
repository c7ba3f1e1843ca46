"""recipe.toml → a corpus folder: checked first, resumed where it was interrupted, there as a whole or not at all.

The folder's making lies beside it, in .NAME.building; its result depends on the recipe and the files alone. What is
done to documents, says steps.py; where it is done, executors.py. It does not know terminals.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path

from haina import __version__
from haina.checkpoint.new_folder import alone
from haina.data import recipe as recipes
from haina.data.croissant import croissant
from haina.data.document import Document
from haina.data.files import files_of, require_room, text_bytes, unread
from haina.data.manifest import manifest
from haina.data.overlap import Evaluation
from haina.data.quality import train
from haina.data.readers import read
from haina.data.reasons import counted
from haina.data.recipe import Recipe, Source, Texts
from haina.data.report import page
from haina.data.steps import EVALUATION, QUALITY, Decide, Judge, Part, Write
from haina.data.tally import Tally, total
from haina.options.data import BuildOptions
from haina.wording import say, short

PROBED = 200  # files, rows
SHOWN_FILES = 5  # that were passed over
MOST_EXAMPLES = 2000  # documents that a quality score is trained on, of each side


@dataclass(frozen=True)
class Finish:
    """The last stage: count, describe and put the folder in its place."""

    recipe: Recipe
    parts: tuple[Part, ...]
    passed_over: Mapping[str, list[str]]  # of a source: files whose format is not known
    work: Path
    out: Path

    def __call__(self, data: object, rank: int, world_size: int) -> None:
        """A corpus without a document is not put in its place; what became of the texts stays in `work`."""
        tallies = {source.name: self._tallies(source) for source in self.recipe.source}
        corpus = self.work / "corpus"
        about = manifest(self.recipe, tallies, self.passed_over)
        (corpus / "report").mkdir(parents=True, exist_ok=True)
        (corpus / "report" / "index.html").write_text(page(self.recipe, tallies, self.passed_over), "utf-8")
        (corpus / "croissant.json").write_text(_json(croissant(self.recipe, about)), "utf-8")
        (corpus / "manifest.json").write_text(_json(about), "utf-8")
        if about["kept"]["documents"]:
            os.rename(corpus, self.out)

    def _tallies(self, source: Source) -> tuple[Tally, Tally]:
        """What was read and judged of a source, and what was compared and written."""
        numbers = [number for number, part in enumerate(self.parts) if part.source.name == source.name]

        def found(folder: str) -> Tally:
            return total((Tally.open(self.work / folder / f"{n:05}.json") for n in numbers), source.name)

        return found("read"), found("written")

    def examples(self, source: Source) -> dict[str, list[str]]:
        """Of each reason why texts of a source were not read or dropped."""
        return self._tallies(source)[0].examples


def build(file: Path, options: BuildOptions, report: Callable[[str], None]) -> str:
    """Build the corpus of a recipe at `options.out`; returns what to tell. ValueError: whatever is wrong with it."""
    out = Path(os.path.abspath(options.out))
    recipe = recipes.read(file)
    root = Path(os.path.abspath(options.root or file.parent))
    if out.exists():
        raise ValueError(
            say(
                f"{out}: already exists; choose another --out or remove it first",
                f"{out}：已经存在；请换一个 --out，或先移走它",
            )
        )
    if options.executor == "slurm" and not options.slurm_partition:
        raise ValueError(
            say("--executor slurm needs --slurm-partition", "--executor slurm 需要 --slurm-partition")
        )
    parts = _parts(recipe, root)
    files = [path for part in parts for path, _ in part.files]
    passed_over = {one.name: [_named(file, root) for file in unread(one, root)] for one in recipe.source}
    out.parent.mkdir(parents=True, exist_ok=True)
    require_room(out, files)
    with _alone(out):
        work = _work(out, recipe, files)
        report(say("checking …", "正在检查……"))
        for source in recipe.source:
            _probe(source, root)
        _prepare(recipe, root, work)
        finish = Finish(recipe, parts, passed_over, work, out)
        return _told(recipe, finish) if _run(finish, options, report) else _handed_over(out, work)


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Hold the place of a corpus. ValueError: another process builds there. The lock goes with the work."""
    lock = out.parent / f".{out.name}.lock"
    busy = say(
        f"{out}: another process builds it; wait for it, or choose another --out",
        f"{out}：另有进程正在构建；请等它结束，或换一个 --out",
    )
    with alone(lock, busy):
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def _run(finish: Finish, options: BuildOptions, report: Callable[[str], None]) -> bool:
    from haina.data.executors import Stage, run

    given = finish.recipe, finish.parts, finish.work
    stages = (
        Stage("read", "reading", "正在读取", Judge(*given), len(finish.parts)),
        Stage("decide", "comparing", "正在去重比对", Decide(*given), 1),
        Stage("write", "writing", "正在写出", Write(*given), len(finish.parts)),
        Stage("finish", "describing", "正在生成说明", finish, 1),
    )
    return run(stages, finish.work, options, report)


def _parts(recipe: Recipe, root: Path) -> tuple[Part, ...]:
    """Files in their order, small ones together; this depends on nothing but the files and the recipe."""
    parts: list[Part] = []
    for source in recipe.source:
        held: list[tuple[Path, str]] = []
        size = 0
        for file in files_of(source, root):
            more = text_bytes(file)
            if held and size + more > recipe.part_mb << 20:
                parts.append(Part(source, tuple(held)))
                held, size = [], 0
            held.append((file, _named(file, root)))
            size += more
        parts.append(Part(source, tuple(held)))
    return tuple(parts)


def _named(file: Path, root: Path) -> str:
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else file.name


def _work(out: Path, recipe: Recipe, files: list[Path]) -> Path:
    """The folder of the making; one of another recipe, other files or another version is begun anew."""
    states = [(str(file), (about := file.stat()).st_size, about.st_mtime_ns) for file in files]
    wire = json.dumps([__version__, asdict(recipe), states], sort_keys=True)
    sign, work = hashlib.sha256(wire.encode()).hexdigest(), out.parent / f".{out.name}.building"
    if work.exists() and not ((work / "sign").exists() and (work / "sign").read_text() == sign):
        shutil.rmtree(work)
    work.mkdir(exist_ok=True)
    (work / "sign").write_text(sign)
    return work


def _prepare(recipe: Recipe, root: Path, work: Path) -> None:
    """What all tasks look things up in: hashes of the evaluation sets, the quality score."""
    sets = {one.name or one.path: (d.text for d in _documents(one, root)) for one in recipe.evaluation}
    Evaluation.of(sets).save(work / EVALUATION)
    if recipe.quality.good:
        good, bad = (
            [document.text for one in side for document in _documents(one, root)][:MOST_EXAMPLES]
            for side in (recipe.quality.good, recipe.quality.bad)
        )
        train(good, bad).save(work / QUALITY)


def _probe(source: Source, root: Path) -> None:
    """ValueError if the files begin without a single document, perhaps because a field has another name."""
    files = files_of(source, root)
    found = chain.from_iterable(read(file, file.name, source.reading()) for file in files[:PROBED])
    reasons: Counter[str] = Counter()
    first: dict[str, str] = {}  # of each reason, where it was met
    for one in islice(found, PROBED):
        if isinstance(one, Document):
            return
        reasons[one.reason] += 1
        first.setdefault(one.reason, one.where)
    if reasons:
        count, how = reasons.total(), _how(source, first)
        raise ValueError(
            say(
                f"{source.name}: none of the first {count} rows holds a document ({counted(reasons)}); {how}",
                f"{source.name}：前 {count} 行中没有一篇文档（{counted(reasons)}）；{how}",
            )
        )


def _how(source: Source, first: Mapping[str, str]) -> str:
    """What to write in the recipe, when rows lack the field that it names."""
    where = first.get("no_field")
    if where is None:
        return say("check format, text, messages", "请核对 format、text、messages")
    names = where.partition(": ")[2]
    field = names.split(", ")[0] or "…"
    set_to = f'messages = "{field}"' if source.messages else f'text = "{{{field}}}"'
    return say(f"the rows have {names}; set, for example, {set_to}", f"各行的字段有 {names}；可设 {set_to}")


def _documents(texts: Texts, root: Path) -> Iterator[Document]:
    for file in files_of(texts, root):
        for found in read(file, file.name, texts.reading()):
            if isinstance(found, Document):
                yield found


def _json(content: object) -> str:
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def _told(recipe: Recipe, done: Finish) -> str:
    """What became of it. ValueError: nothing was kept, so that there is no corpus."""
    out, work = done.out, done.work
    about = json.loads(((out if out.exists() else work / "corpus") / "manifest.json").read_bytes())
    examples = {source.name: done.examples(source) for source in recipe.source}
    shutil.rmtree(work)
    kept, dropped = about["kept"], about["dropped"]
    more = list(_remarks(done, examples))
    if not kept["documents"]:
        more = [counted(dropped) or say("the files are empty", "文件是空的"), *more]
        raise ValueError(
            say(
                f"{out}: not made: no document is left of {sum(dropped.values()):,} ({'; '.join(more)}); "
                "check the recipe, or turn rules off with without = […] or rules = false",
                f"{out}：未生成：{sum(dropped.values()):,} 篇中没有一篇留下（{'；'.join(more)}）；"
                "请核对配方，或用 without = […]、rules = false 关闭规则",
            )
        )
    page, gone = out / "report" / "index.html", sum(dropped.values())
    lines = [
        say(
            f"{out}: {kept['documents']:,} documents, {short(kept['bytes'], 'B')}; {gone:,} dropped; see {page}",
            f"{out}：{kept['documents']:,} 篇，{short(kept['bytes'], 'B')}；舍弃 {gone:,} 篇；详见 {page}",
        )
        + say("; not for shipping: licences were not checked", "；未核查许可协议，不可分发")
        * (not about["may_ship"])
    ]
    lines += [say(f"dropped: {counted(dropped)}", f"舍弃：{counted(dropped)}")] if dropped else []
    return "\n".join(lines + more)


def _remarks(done: Finish, examples: Mapping[str, Mapping[str, list[str]]]) -> Iterator[str]:
    """What in a source was not read, and what to do about it."""
    for source in done.recipe.source:
        if where := examples[source.name].get("no_field"):
            how = _how(source, {"no_field": where[0]})
            yield say(f"{source.name}: {where[0].partition(': ')[0]}: {how}", f"{source.name}：{how}")
        if names := done.passed_over[source.name]:
            shown = ", ".join(names[:SHOWN_FILES]) + ", …" * (len(names) > SHOWN_FILES)
            ends = ", ".join(sorted({Path(name).suffix or Path(name).name for name in names})[:SHOWN_FILES])
            yield say(
                f"{source.name}: not read, as nothing here reads {ends}: {shown}",
                f"{source.name}：未读取（不支持 {ends}）：{shown}",
            )


def _handed_over(out: Path, work: Path) -> str:
    return say(
        f"handed over to Slurm; {out} appears when its jobs are done, logs are in {work / 'logs'}",
        f"已提交给 Slurm；作业完成后生成 {out}，日志在 {work / 'logs'}",
    )
