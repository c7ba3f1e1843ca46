"""recipe.toml → a corpus folder: checked first, resumed where it was interrupted, there as a whole or not at all.

The folder's making lies beside it, in .NAME.building; its result depends on the recipe and the files alone. What is
done to documents, says steps.py; where it is done, executors.py. It does not know terminals.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path

from haina import __version__
from haina.checkpoint.new_folder import alone
from haina.data import recipe as recipes
from haina.data.croissant import croissant
from haina.data.document import Document
from haina.data.manifest import manifest
from haina.data.overlap import Evaluation
from haina.data.quality import train
from haina.data.readers import read
from haina.data.recipe import Recipe, Source, Texts
from haina.data.report import page
from haina.data.steps import EVALUATION, QUALITY, Decide, Judge, Part, Write
from haina.data.tally import Tally, total
from haina.options.data import BuildOptions
from haina.wording import say

PROBED = 200  # files, rows
MOST_EXAMPLES = 2000  # documents that a quality score is trained on, of each side


@dataclass(frozen=True)
class Finish:
    """The last stage: count, describe and put the folder in its place."""

    recipe: Recipe
    parts: tuple[Part, ...]
    work: Path
    out: Path

    def __call__(self, data: object, rank: int, world_size: int) -> None:
        tallies = {source.name: self._tallies(source) for source in self.recipe.source}
        corpus = self.work / "corpus"
        about = manifest(self.recipe, tallies)
        (corpus / "report").mkdir(parents=True, exist_ok=True)
        (corpus / "report" / "index.html").write_text(page(self.recipe, tallies), "utf-8")
        (corpus / "croissant.json").write_text(_json(croissant(self.recipe, about)), "utf-8")
        (corpus / "manifest.json").write_text(_json(about), "utf-8")
        os.rename(corpus, self.out)

    def _tallies(self, source: Source) -> tuple[Tally, Tally]:
        """What was read and judged of a source, and what was compared and written."""
        numbers = [number for number, part in enumerate(self.parts) if part.source.name == source.name]

        def found(folder: str) -> Tally:
            return total((Tally.open(self.work / folder / f"{n:05}.json") for n in numbers), source.name)

        return found("read"), found("written")


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
    out.parent.mkdir(parents=True, exist_ok=True)
    recipes.require_room(out, files)
    with _alone(out):
        work = _work(out, recipe, files)
        report(say("checking …", "正在检查……"))
        for source in recipe.source:
            _probe(source, root)
        _prepare(recipe, root, work)
        return _told(out) if _run(recipe, parts, work, out, options, report) else _handed_over(out, work)


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


def _run(
    recipe: Recipe,
    parts: tuple[Part, ...],
    work: Path,
    out: Path,
    options: BuildOptions,
    report: Callable[[str], None],
) -> bool:
    from haina.data.executors import Stage, run

    stages = (
        Stage("read", "reading", "正在读取", Judge(recipe, parts, work), len(parts)),
        Stage("decide", "comparing", "正在去重比对", Decide(recipe, parts, work), 1),
        Stage("write", "writing", "正在写出", Write(recipe, parts, work), len(parts)),
        Stage("finish", "describing", "正在生成说明", Finish(recipe, parts, work, out), 1),
    )
    done = run(stages, work, options, report)
    if done:
        shutil.rmtree(work)
    return done


def _parts(recipe: Recipe, root: Path) -> tuple[Part, ...]:
    """Files in their order, small ones together; this depends on nothing but the files and the recipe."""
    parts: list[Part] = []
    for source in recipe.source:
        held: list[tuple[Path, str]] = []
        size = 0
        for file in recipes.files_of(source, root):
            more = recipes.text_bytes(file)
            if held and size + more > recipe.part_mb << 20:
                parts.append(Part(source, tuple(held)))
                held, size = [], 0
            name = file.relative_to(root).as_posix() if file.is_relative_to(root) else file.name
            held.append((file, name))
            size += more
        parts.append(Part(source, tuple(held)))
    return tuple(parts)


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
    files = recipes.files_of(source, root)
    found = chain.from_iterable(read(file, file.name, source.reading()) for file in files[:PROBED])
    reasons = []
    for one in islice(found, PROBED):
        if isinstance(one, Document):
            return
        reasons.append(one.reason)
    if reasons:
        raise ValueError(
            say(
                f"{source.name}: none of the first {len(reasons)} rows holds a document ({reasons[0]}); "
                "check format, text, messages",
                f"{source.name}：前 {len(reasons)} 行中没有一篇文档（{reasons[0]}）；"
                "请核对 format、text、messages",
            )
        )


def _documents(texts: Texts, root: Path) -> Iterator[Document]:
    for file in recipes.files_of(texts, root):
        for found in read(file, file.name, texts.reading()):
            if isinstance(found, Document):
                yield found


def _json(content: object) -> str:
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def _told(out: Path) -> str:
    about = json.loads((out / "manifest.json").read_bytes())
    kept, gone = about["kept"], sum(about["dropped"].values())
    text = say(
        f"{out}: {kept['documents']:,} documents, {kept['bytes'] / 1e6:.1f} MB; {gone:,} dropped; "
        f"see {out / 'report' / 'index.html'}",
        f"{out}：{kept['documents']:,} 篇，{kept['bytes'] / 1e6:.1f} MB；舍弃 {gone:,} 篇；"
        f"详见 {out / 'report' / 'index.html'}",
    )
    if not about["may_ship"]:
        text += say("; not for shipping: licences were not checked", "；未核查许可协议，不可分发")
    return text


def _handed_over(out: Path, work: Path) -> str:
    return say(
        f"handed over to Slurm; {out} appears when its jobs are done, logs are in {work / 'logs'}",
        f"已提交给 Slurm；作业完成后生成 {out}，日志在 {work / 'logs'}",
    )
