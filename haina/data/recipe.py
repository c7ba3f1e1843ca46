"""recipe.toml: which texts become a corpus, under which licence, and by which rules.

A recipe is checked before anything runs: names that do not exist, values of a wrong kind, licences that are not
allowed. It does not know files (files.py, readers.py) nor what the rules do.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_type_hints

from haina.data.clean import Script
from haina.data.filters import RULES, Rule, rules_of
from haina.data.language import Language
from haina.data.readers import FORMATS, Reading, Template, fields_of
from haina.wording import say

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# May be copied, changed and given on by everyone, commercially too, or is one's own; compared without case, spaces and
# hyphens.
OPEN_LICENCES = (
    "CC0-1.0", "CC-BY-2.0", "CC-BY-3.0", "CC-BY-4.0", "CC-BY-SA-2.0", "CC-BY-SA-3.0", "CC-BY-SA-4.0", "MIT", "MIT-0",
    "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "Unlicense", "PDDL-1.0", "ODC-By-1.0", "GFDL-1.2", "GFDL-1.3",
    "Unicode-3.0", "public domain", "own",
)  # fmt: skip
_PLAIN_KINDS: Mapping[str, tuple[type, ...]] = {
    "str": (str,),
    "bool": (bool,),
    "int": (int,),
    "float": (int, float),
}


@dataclass(frozen=True)
class Texts:
    """Files and how they are read. path: a glob, from the folder of the recipe; text: {field} of rows."""

    path: str
    name: str = ""
    format: str = "auto"
    text: str = "{text}"
    join: str = "\n"  # between the parts of a field that is a list
    pattern: str = ""  # what lines are taken apart by; its named groups are the fields
    where: Mapping[str, Any] = field(default_factory=dict)  # a row's field must be one of these

    def reading(self) -> Reading:
        return Reading(
            self.format, Template(self.text), join=self.join, pattern=self.pattern, where=self.where
        )


@dataclass(frozen=True)
class Source(Texts):
    """A named part of the corpus. licence and domain may be {fields}; language: known, so that it is not guessed."""

    licence: str = ""
    url: str = ""
    git: str = ""  # a repository; `path` is then inside of it
    commit: str = ""
    date: str = ""
    language: str = ""
    domain: str = ""
    weight: float = 1.0
    messages: str = ""  # the field that holds a conversation, instead of text
    turns: tuple[str, ...] = ()  # or what user and assistant say in turn, with {fields}
    id: str = "id"
    rules: bool = True  # whether pages of this source are judged by why_dropped
    without: tuple[str, ...] = ()  # rules that are off for this source, and its own numbers of rules
    limits: Mapping[str, Any] = field(default_factory=dict)

    def reading(self) -> Reading:
        return replace(
            super().reading(),
            messages=self.messages,
            turns=tuple(map(Template, self.turns)),
            id=self.id,
            licence=Template(self.licence),
            domain=Template(self.domain),
        )


@dataclass(frozen=True)
class Quality:
    """Texts that are good and texts that are not; a document that scores less than `least` is dropped."""

    good: tuple[Texts, ...] = ()
    bad: tuple[Texts, ...] = ()
    least: float = 0.0


@dataclass(frozen=True)
class Recipe:
    """A corpus to make; every field is a key of recipe.toml."""

    source: tuple[Source, ...] = ()
    evaluation: tuple[Texts, ...] = ()  # a text that shares 13 words with one of them is dropped
    quality: Quality = Quality()
    name: str = "corpus"
    description: str = ""
    script: str = "keep"  # or "simplified"
    languages: tuple[str, ...] = ("zh", "en", "mixed")
    language_confidence: float = 0.0
    licences: tuple[str, ...] = OPEN_LICENCES
    allow_unlicensed: bool = False  # for research: the corpus is marked as not for shipping
    without: tuple[str, ...] = ()  # rules of filters.py that are off
    limits: Mapping[str, Any] = field(
        default_factory=dict
    )  # their other numbers by name; zh, en: tables of one
    redact: bool = True
    drop_duplicates: bool = True  # of documents that are nearly the same, one stays
    weigh: bool = True  # what stands elsewhere too, in paragraphs and sentences, lowers a document's weight
    resample: bool = False  # what was found often weighs more, as in FineWeb-2
    part_mb: int = 32  # files are read together up to this size; nothing but the files' order depends on it

    def allows(self, licence: str) -> bool:
        return bool(licence) and _same(licence) in map(_same, self.licences)

    def rules(self, source: Source, language: str) -> tuple[Rule, ...]:
        """What pages of a source are judged by. ValueError: a number that a rule does not take."""
        if not source.rules:
            return ()
        own = "en" if language == "en" else "zh"
        tables = (table for given in (self.limits, source.limits) for table in (given, given.get(own, {})))
        limits = {name: limit for table in tables for name, limit in table.items()}
        return rules_of(language, (*self.without, *source.without), limits)


def read(file: Path) -> Recipe:
    """The recipe of a file. ValueError names the key that is unknown or wrong, and the nearest that exists."""
    recipe = parsed(file)
    _check(recipe, file)
    return recipe


def parsed(file: Path) -> Recipe:
    """The recipe of a file, as far as its keys are known and of their kinds; ValueError names one that is not."""
    try:
        content = tomllib.loads(file.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            say(f"{file}: not TOML: {error}; correct it", f"{file}：不是有效的 TOML：{error}；请改正")
        ) from None
    recipe: Recipe = _record(Recipe, content, str(file))
    return recipe


def _record(kind: type, given: Mapping[str, Any], where: str) -> Any:
    """A frozen dataclass from a table of TOML."""
    hints, known = get_type_hints(kind), {f.name: f for f in fields(kind)}
    for key in given:
        if key not in known:
            raise ValueError(_unknown(where, key, known))
    for name, one in known.items():
        if name not in given and one.default is MISSING and one.default_factory is MISSING:
            raise ValueError(say(f"{where}: {name} is missing; add it", f"{where}：缺少 {name}；请补上"))
    return kind(**{key: _value(hints[key], value, f"{where}: {key}") for key, value in given.items()})


def _value(hint: Any, given: Any, where: str) -> Any:
    if isinstance(hint, type) and hasattr(hint, "__dataclass_fields__") and isinstance(given, dict):
        return _record(hint, given, where)
    if args := get_args(hint):
        if args[-1] is Ellipsis and isinstance(given, list):
            return tuple(_value(args[0], one, f"{where}[{number}]") for number, one in enumerate(given, 1))
        if args[-1] is not Ellipsis and isinstance(given, dict):
            return given
    name = getattr(hint, "__name__", "")
    if isinstance(given, _PLAIN_KINDS.get(name, ())) and (name == "bool" or not isinstance(given, bool)):
        return given
    raise ValueError(
        say(
            f"{where}: {given!r} is of the wrong kind; it takes {_kind(hint)}",
            f"{where}：{given!r} 类型不对；应为 {_kind(hint)}",
        )
    )


def _kind(hint: Any) -> str:
    if get_args(hint):
        return say("a list", "列表") if get_args(hint)[-1] is Ellipsis else say("a table", "表")
    names = {
        "str": say("a text", "文本"),
        "bool": "true | false",
        "int": say("a whole number", "整数"),
        "float": say("a number", "数"),
    }
    return names.get(hint.__name__, say("a table", "表"))


def _unknown(where: str, given: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(given, known, 1, 0.5)
    en, zh = (f"did you mean {near[0]}?", f"是否想用 {near[0]}？") if near else ("remove it", "请删除")
    return say(f"{where}: there is no {given}; {en}", f"{where}：没有 {given} 这一项；{zh}")


def _check(recipe: Recipe, file: Path) -> None:
    """ValueError names the first value of the recipe that cannot be."""
    if not recipe.source:
        raise ValueError(
            say(f"{file}: names no [[source]]; add one", f"{file}：没有任何 [[source]]；请至少加一个")
        )
    rules = {rule.name for found in RULES.values() for rule in found}
    for where, given, known in (
        ("script", [recipe.script], get_args(Script)),
        ("languages", recipe.languages, get_args(Language)),
        ("without", recipe.without, rules),
        *((f"{source.name}: without", source.without, rules) for source in recipe.source),
        *(
            (f"{source.name}: language", [source.language], ["", *get_args(Language)])
            for source in recipe.source
        ),
        *(
            (f"{one.name or one.path}: format", [one.format], ["auto", *FORMATS])
            for one in _all_texts(recipe)
        ),
    ):
        for one in given:
            if one not in known:
                raise ValueError(_unknown(f"{file}: {where}", one, known))
    _check_limits(recipe, file)
    _check_sources(recipe, file)
    for texts in _all_texts(recipe):
        _check_reading(texts, file)


def _check_limits(recipe: Recipe, file: Path) -> None:
    """ValueError names a rule that does not exist, or a number that it does not take."""
    known = {language: [rule.name for rule in RULES[language]] for language in ("zh", "en")}
    anywhere = [*known, *known["zh"], *known["en"]]
    for where, given in (
        ("limits", recipe.limits),
        *((f"{source.name}: limits", source.limits) for source in recipe.source),
    ):
        within = [(f"{where}.{own}", given.get(own, {}), names) for own, names in known.items()]
        for at, table, names in ((where, given, anywhere), *within):
            if not isinstance(table, dict):
                raise ValueError(say(f"{file}: {at} takes a table", f"{file}：{at} 应为表"))
            for name in table:
                if name not in names:
                    raise ValueError(_unknown(f"{file}: {at}", name, names))
    for source in recipe.source:
        for language in RULES:
            try:
                recipe.rules(source, language)
            except ValueError as error:
                raise ValueError(
                    say(f"{file}: limits: {error}; correct it", f"{file}：limits：{error}；请改正")
                ) from None


def _check_reading(texts: Texts, file: Path) -> None:
    texts.reading()  # its templates are read
    try:
        re.compile(texts.pattern)
    except re.error as error:
        raise ValueError(
            say(
                f"{file}: {texts.name}: pattern: {error}; correct it",
                f"{file}：{texts.name}：pattern 有误：{error}；请改正",
            )
        ) from None


def _check_sources(recipe: Recipe, file: Path) -> None:
    seen: set[str] = set()
    for source in recipe.source:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", source.name) or source.name in seen:
            raise ValueError(
                say(
                    f"{file}: a source's name is {source.name!r}; give each its own, of letters, digits, - and _",
                    f"{file}：来源的 name 为 {source.name!r}；每个来源须有各自的名称，由字母、数字、- 和 _ 组成",
                )
            )
        seen.add(source.name)
        _check_licence(recipe, source, file)
        if not 0 < source.weight < 1000:
            raise ValueError(
                say(
                    f"{file}: {source.name}: weight {source.weight} is not between 0 and 1000; correct it",
                    f"{file}：{source.name}：weight 的值 {source.weight} 不在 0 到 1000 之间；请改正",
                )
            )


def _check_licence(recipe: Recipe, source: Source, file: Path) -> None:
    """ValueError if texts are used that nobody allowed. Of a {field}, each row is asked when it is read."""
    if recipe.allow_unlicensed or recipe.allows(source.licence) or fields_of(source.licence):
        return
    where, given = f"{file}: {source.name}", source.licence
    if given:
        text = say(
            f"{where}: licence: {given} is not among the allowed; if you may use it, name all that you allow at the "
            f'top of the recipe: licences = ["{given}", "CC0-1.0", …]',
            f"{where}：许可协议：未允许 {given}；如果你有权使用，请在配方开头列出所有允许的协议："
            f'licences = ["{given}", "CC0-1.0", …]',
        )
    else:
        text = say(
            f'{where}: licence: none is given; write licence = "…" in this [[source]]: "own" for text of your own, '
            'otherwise its licence, such as "CC0-1.0", "CC-BY-4.0", "MIT", "public domain"',
            f'{where}：许可协议未注明；请在这个 [[source]] 里写上 licence = "…"：自己的文本写 "own"，'
            '其他写其协议，如 "CC0-1.0"、"CC-BY-4.0"、"MIT"、"public domain"',
        )
    raise ValueError(
        text
        + say(
            "; or set allow_unlicensed = true at the top for a corpus that is not for shipping",
            "；也可在开头设 allow_unlicensed = true（所得语料仅供研究，不可分发）",
        )
    )


def _all_texts(recipe: Recipe) -> list[Texts]:
    return [*recipe.source, *recipe.evaluation, *recipe.quality.good, *recipe.quality.bad]


@cache
def _same(licence: str) -> str:
    return re.sub(r"[\s_-]+", "", licence).lower()
