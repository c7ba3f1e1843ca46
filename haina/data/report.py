"""report/index.html: what stayed of each source and what each rule dropped, with examples and a picture.

One file in Chinese and English, without scripts and without anything from elsewhere. Documents are hostile: all that
comes from them is escaped, and the page forbids itself to run or load anything. It knows tallies, not rules.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from html import escape

from haina.data.filters import Rule
from haina.data.reasons import words
from haina.data.recipe import Recipe, Source
from haina.data.tally import LENGTHS, Tally, total
from haina.wording import short

NAMES, BAR, ROW = 180, 580, 26  # pixels: of names, of the longest bar, of a line
PASSED_OVER = 20  # files that are named
BYTES_PER_TOKEN = 4.4  # about, of Chinese and of English, with a vocabulary made for both
_STYLE = """
:root { color-scheme: light dark; --kept: #2a7f62; --gone: #c8553d; --line: #8884 }
body { font: 16px/1.6 system-ui, "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", sans-serif; max-width: 60rem;
  margin: 2rem auto; padding: 0 1rem }
h1, h2 { line-height: 1.25 }
table { border-collapse: collapse; width: 100% }
td, th { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top }
td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
q { display: block; quotes: none; white-space: pre-wrap; overflow-wrap: anywhere; font-size: .875rem;
  border-left: 3px solid var(--line); padding-left: .6rem; margin: .2rem 0 }
svg { max-width: 100%; height: auto }
svg text { font-size: 13px; fill: currentColor }
.legend svg { width: .8em; height: .8em }
.wide { overflow-x: auto }
small { opacity: .8 }
.kept { fill: var(--kept) }
.gone { fill: var(--gone) }
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page(
    recipe: Recipe, tallies: Mapping[str, tuple[Tally, Tally]], passed_over: Mapping[str, list[str]]
) -> str:
    """The whole page. passed_over: of a source, files of formats that are not read."""
    everything = total(one for pair in tallies.values() for one in pair)
    warning = "" if not recipe.allow_unlicensed else _NOT_FOR_SHIPPING
    return (
        '<!doctype html>\n<html lang="zh">\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{escape(recipe.name)} · 语料报告 Corpus report</title>\n<style>{_STYLE}</style>\n"
        f"<h1>{escape(recipe.name)}</h1>\n<p>{escape(recipe.description)}</p>\n{warning}"
        f"<p>{_summary(everything)}</p>\n"
        f"<h2>各来源 · Sources</h2>\n{_picture(tallies)}\n{_sources(recipe, tallies)}\n{_passed_over(passed_over)}"
        f"<h2>篇幅 · Length of documents</h2>\n{_lengths(everything)}\n"
        f"<h2>舍弃的原因 · Why documents were dropped</h2>\n{_reasons(recipe, everything)}\n"
        f"<h2>个人信息 · Personal data</h2>\n{_personal(recipe, everything)}\n</html>\n"
    )


_NOT_FOR_SHIPPING = (
    "<p><strong>仅供研究，不可分发：未核查许可协议。 · "
    "For research, not for shipping: licences were not checked.</strong></p>\n"
)


def _summary(everything: Tally) -> str:
    read, kept = everything.read.documents, everything.kept
    gone = read - kept.documents
    unreadable = sum(everything.dropped.values()) - gone  # places where no document could be made of a file
    held, tokens = short(kept.bytes, "B"), short(kept.bytes / BYTES_PER_TOKEN)
    return (
        f"读入 {read:,} 篇，保留 {kept.documents:,} 篇（{held}，约 {tokens} 词元），舍弃 {gone:,} 篇；"
        f"另有 {unreadable:,} 处无法读取。<br>"
        f"{read:,} documents were read, {kept.documents:,} kept ({held}, about {tokens} tokens), {gone:,} dropped; "
        f"{unreadable:,} places could not be read."
    )


def _picture(tallies: Mapping[str, tuple[Tally, Tally]]) -> str:
    """A bar for each source: the share that stays, and the share that goes."""
    shares = []
    for name, pair in tallies.items():
        both = total(pair)
        count = both.kept.documents + sum(both.dropped.values())
        shares.append((name, both.kept.documents / max(count, 1), count > 0))
    label = "每个来源保留与舍弃的比例 · Share of each source that was kept and dropped"
    return _LEGEND + _bars(label, shares)


_LEGEND = (
    '<p class="legend"><svg viewBox="0 0 12 12"><rect class="kept" width="12" height="12"/></svg> 保留 · kept '
    '<svg viewBox="0 0 12 12"><rect class="gone" width="12" height="12"/></svg> 舍弃 · dropped</p>\n'
)


def _bars(label: str, shares: Iterable[tuple[str, float, bool]]) -> str:
    """Names with a bar each: how long it is, and whether its rest is shown too."""
    rows: list[str] = []
    for name, share, rest in shares:
        y, width = len(rows) * ROW, BAR * share
        gone = (
            f'<rect class="gone" x="{NAMES + width:.1f}" y="{y + 4}" width="{BAR - width:.1f}" height="18"/>'
        )
        rows.append(
            f'<text x="0" y="{y + 17}">{escape(name[:24])}</text>'
            f'<rect class="kept" x="{NAMES}" y="{y + 4}" width="{width:.1f}" height="18"/>{gone if rest else ""}'
            f'<text x="{NAMES + BAR + 8}" y="{y + 17}">{share:.0%}</text>'
        )
    return (
        f'<svg viewBox="0 0 {NAMES + BAR + 60} {ROW * len(rows)}" role="img" aria-label="{label}">'
        f"<title>{label}</title>{''.join(rows)}</svg>"
    )


def _sources(recipe: Recipe, tallies: Mapping[str, tuple[Tally, Tally]]) -> str:
    rows, whole = [], max(sum(total(pair).weighted_bytes for pair in tallies.values()), 1)
    for source in recipe.source:
        both = total(tallies[source.name])
        licences = ", ".join(sorted(both.licences)) or source.licence
        rows.append(
            f"<tr><th scope=row>{escape(source.name)}<td>{escape(_origin(source))}<td>{escape(licences)}"
            f"<td class=n>{both.read.documents:,}<td class=n>{both.kept.documents:,}"
            f"<td class=n>{short(both.kept.bytes, 'B')}<td class=n>{both.weighted_bytes / max(both.kept.bytes, 1):.2f}"
            f"<td class=n>{both.weighted_bytes / whole:.0%}"
        )
    head = (
        "<tr><th>来源 · source<th>出处 · from<th>许可 · licence<th>读入 · read<th>保留 · kept<th>大小 · size"
        "<th>平均权重 · mean weight<th>训练占比 · share in training"
    )
    return f'<div class="wide"><table>{head}{"".join(rows)}</table></div>'


def _origin(source: Source) -> str:
    """Where it is from: a repository and its commit, an address, or a path here."""
    return " @ ".join(filter(None, (source.git or source.url or source.path, source.commit[:12])))


def _passed_over(files: Mapping[str, list[str]]) -> str:
    names = [name for found in files.values() for name in found]
    if not names:
        return ""
    shown = escape(", ".join(names[:PASSED_OVER])) + " …" * (len(names) > PASSED_OVER)
    return f"<p>{len(names):,} 个文件的格式无法读取 · files of formats that are not read: {shown}</p>\n"


def _lengths(everything: Tally) -> str:
    """Of what is kept, the share of documents by their characters."""
    if not everything.kept.documents:
        return "<p>无 · none</p>"
    bounds = [*((f"≤ {most:,}", str(most)) for most in LENGTHS), (f"> {LENGTHS[-1]:,}", "more")]
    shares = [(label, everything.lengths[key] / everything.kept.documents, False) for label, key in bounds]
    return _bars("按字符数统计的保留文档 · Documents kept, by their characters", shares)


def _reasons(recipe: Recipe, everything: Tally) -> str:
    rows = []
    for reason, count in sorted(everything.dropped.items(), key=lambda item: (-item[1], item[0])):
        examples = "".join(f"<q>{escape(example)}</q>" for example in everything.examples[reason])
        rows.append(f"<tr><td>{_reason(recipe, reason)}<td class=n>{count:,}<td>{examples}")
    head = "<tr><th>原因 · reason<th>篇数 · documents<th>示例 · examples"
    return f"<table>{head}{''.join(rows)}</table>" if rows else "<p>无 · none</p>"


def _reason(recipe: Recipe, name: str) -> str:
    """In words; of a rule also its name in a recipe, its limits there and whose it is."""
    en, zh = words(name)
    text = f"{escape(zh)} · {escape(en)}"
    rules = [
        (language, rule)
        for language in ("zh", "en")
        for rule in dict.fromkeys(one for source in recipe.source for one in recipe.rules(source, language))
        if rule.name == name
    ]
    if not rules:
        return text
    limits = "; ".join(
        dict.fromkeys(f"{language} {_limits(rule)}, {rule.source}" for language, rule in rules)
    )
    return f"{text}<br><small><code>{escape(name)}</code>: {escape(limits)}</small>"


def _limits(rule: Rule) -> str:
    if math.isfinite(rule.least) and math.isfinite(rule.most):
        return f"{rule.least:g}–{rule.most:g}"
    return f"≥ {rule.least:g}" if math.isfinite(rule.least) else f"≤ {rule.most:g}"


def _personal(recipe: Recipe, everything: Tally) -> str:
    if not recipe.redact:
        return "<p>未检查（redact = false） · not looked for (redact = false)</p>"
    found = sorted(everything.redacted.items())
    rows = "".join(f"<tr><td>{escape(name)}<td class=n>{n:,}" for name, n in found)
    where = "通过规则的文档中 · in documents that passed the rules"
    return f"<p>{where}：</p><table>{rows}</table>" if rows else f"<p>{where}：未发现 · none was found</p>"
