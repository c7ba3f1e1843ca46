"""report/index.html: what stayed of each source and what each rule dropped, with examples and a picture.

One file in Chinese and English, without scripts and without anything from elsewhere. Documents are hostile: all that
comes from them is escaped, and the page forbids itself to run or load anything. It knows tallies, not rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from haina.data.filters import RULES
from haina.data.recipe import Recipe
from haina.data.tally import Tally, total

BAR, ROW = 640, 26  # pixels
_REASONS = {  # besides the rules of filters.py
    "licence": ("licence not allowed", "许可协议不在允许之列"),
    "language": ("another language", "语种不符"),
    "no_text": ("no text", "没有文本"),
    "quality": ("quality score too low", "质量评分过低"),
    "exact_duplicate": ("the same text stays elsewhere", "与保留的文档完全相同"),
    "near_duplicate": ("nearly the same text stays elsewhere", "与保留的文档近乎相同"),
    "evaluation": ("holds text of an evaluation set", "含评测集文本"),
    "encoding": ("not in the file's encoding", "编码有误"),
    "binary": ("not text", "不是文本"),
    "too_large": ("too large", "过大"),
    "truncated": ("damaged file", "文件损坏或不完整"),
    "not_matching": ("a line unlike the pattern", "行与 pattern 不符"),
    "not_yaml": ("not YAML", "不是 YAML"),
    "not_json": ("not a JSON object", "不是 JSON 对象"),
    "not_csv": ("not CSV", "不是 CSV"),
    "not_parquet": ("not Parquet", "不是 Parquet"),
    "not_xml": ("XML that breaks off", "XML 不完整"),
    "not_warc": ("WARC that breaks off", "WARC 不完整"),
}
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
.kept { fill: var(--kept) }
.gone { fill: var(--gone) }
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page(recipe: Recipe, tallies: Mapping[str, tuple[Tally, Tally]]) -> str:
    """The whole page."""
    everything = total(one for pair in tallies.values() for one in pair)
    warning = "" if not recipe.allow_unlicensed else _NOT_FOR_SHIPPING
    return (
        '<!doctype html>\n<html lang="zh">\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{escape(recipe.name)} · 语料报告 Corpus report</title>\n<style>{_STYLE}</style>\n"
        f"<h1>{escape(recipe.name)}</h1>\n<p>{escape(recipe.description)}</p>\n{warning}"
        f"<p>{_summary(everything)}</p>\n"
        f"<h2>各来源 · Sources</h2>\n{_picture(tallies)}\n{_sources(recipe, tallies)}\n"
        f"<h2>舍弃的原因 · Why documents were dropped</h2>\n{_reasons(everything)}\n"
        f"<h2>个人信息 · Personal data replaced</h2>\n{_counts(everything.redacted)}\n</html>\n"
    )


_NOT_FOR_SHIPPING = (
    "<p><strong>仅供研究，不可分发：未核查许可协议。 · "
    "For research, not for shipping: licences were not checked.</strong></p>\n"
)


def _summary(everything: Tally) -> str:
    read, kept, gone = everything.read.documents, everything.kept.documents, sum(everything.dropped.values())
    size = everything.kept.bytes / 1e6
    return (
        f"读入 {read:,} 篇，保留 {kept:,} 篇（{size:,.1f} MB），舍弃 {gone:,} 篇。<br>"
        f"{read:,} documents were read, {kept:,} kept ({size:,.1f} MB), {gone:,} dropped."
    )


def _picture(tallies: Mapping[str, tuple[Tally, Tally]]) -> str:
    """A bar for each source: the share that stays, and the share that goes."""
    rows = []
    for number, (name, pair) in enumerate(tallies.items()):
        both, y = total(pair), number * ROW
        gone = sum(both.dropped.values())
        width = BAR * both.kept.documents / max(both.kept.documents + gone, 1)
        rows.append(
            f'<text x="0" y="{y + 17}">{escape(name[:24])}</text>'
            f'<rect class="kept" x="180" y="{y + 4}" width="{width:.1f}" height="18"/>'
            f'<rect class="gone" x="{180 + width:.1f}" y="{y + 4}" width="{BAR - width:.1f}" height="18"/>'
        )
    label = "每个来源保留与舍弃的比例 · Share of each source that was kept and dropped"
    return (
        f'<svg viewBox="0 0 {BAR + 180} {ROW * len(rows)}" role="img" aria-label="{label}">'
        f"<title>{label}</title>{''.join(rows)}</svg>"
    )


def _sources(recipe: Recipe, tallies: Mapping[str, tuple[Tally, Tally]]) -> str:
    rows = []
    for source in recipe.source:
        both = total(tallies[source.name])
        origin = " @ ".join(filter(None, (source.git or source.url, source.commit[:12])))
        licences = ", ".join(sorted(both.licences)) or source.licence
        rows.append(
            f"<tr><th scope=row>{escape(source.name)}<td>{escape(origin)}<td>{escape(licences)}"
            f"<td class=n>{both.read.documents:,}<td class=n>{both.kept.documents:,}"
            f"<td class=n>{both.kept.bytes / 1e6:,.2f}"
        )
    head = "<tr><th>来源 · source<th>出处 · from<th>许可 · licence<th>读入 · read<th>保留 · kept<th>MB"
    return f"<table>{head}{''.join(rows)}</table>"


def _reasons(everything: Tally) -> str:
    rows = []
    for reason, count in sorted(everything.dropped.items(), key=lambda item: (-item[1], item[0])):
        examples = "".join(f"<q>{escape(example)}</q>" for example in everything.examples[reason])
        rows.append(f"<tr><td>{_reason(reason)}<td class=n>{count:,}<td>{examples}")
    head = "<tr><th>原因 · reason<th>篇数 · documents<th>示例 · examples"
    return f"<table>{head}{''.join(rows)}</table>" if rows else "<p>无 · none</p>"


def _reason(name: str) -> str:
    if name.partition(":")[0] in _REASONS:
        en, zh = _REASONS[name.partition(":")[0]]
        detail = escape(name.partition(":")[2])
        return f"{zh} · {en}{f' ({detail.strip()})' if detail else ''}"
    whose = sorted({rule.source for rules in RULES.values() for rule in rules if rule.name == name})
    return f"<code>{escape(name)}</code> ({escape(', '.join(whose))})"


def _counts(counter: Mapping[str, int]) -> str:
    rows = "".join(f"<tr><td>{escape(name)}<td class=n>{n:,}" for name, n in sorted(counter.items()))
    return f"<table>{rows}</table>" if rows else "<p>无 · none</p>"
