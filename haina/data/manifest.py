"""manifest.json of a corpus: of every source where it is from, under which licence, and what became of its texts.

Nothing in it depends on when or where it was made. It is the corpus' manifest, not the one of a model's folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from haina import __version__
from haina.data.recipe import Recipe, Source
from haina.data.tally import Tally, total

FORMAT = 1
Tallies = Mapping[
    str, tuple[Tally, Tally]
]  # of a source: what was read and judged; what was compared and written


def manifest(recipe: Recipe, tallies: Tallies, passed_over: Mapping[str, list[str]]) -> dict[str, Any]:
    """What manifest.json holds. Its bytes are those of texts in UTF-8, but for the files'.

    passed_over: of a source, files of formats that are not read.
    """
    everything = total(one for pair in tallies.values() for one in pair)
    files = {one["path"]: one for _, written in tallies.values() for one in written.files}
    return {
        "format": FORMAT,
        "made": f"haina data build {__version__}",
        "name": recipe.name,
        "may_ship": not recipe.allow_unlicensed,
        "read": asdict(everything.read),
        "kept": asdict(everything.kept),
        "dropped": _counts(everything.dropped),
        "languages": _counts(everything.languages),
        "licences": _counts(everything.licences),
        "sources": {
            source.name: _source(source, *tallies[source.name], passed_over[source.name])
            for source in recipe.source
        },
        "files": {
            name: {key: files[name][key] for key in ("bytes", "sha256", "documents")}
            for name in sorted(files)
        },
        "recipe": asdict(recipe),
    }


def _source(source: Source, read: Tally, written: Tally, passed_over: list[str]) -> dict[str, Any]:
    both = total([read, written])
    provenance = {key: getattr(source, key) for key in ("licence", "url", "git", "commit", "date")}
    return {
        **{key: value for key, value in provenance.items() if value},
        "read": asdict(read.read),
        "kept": asdict(written.kept),
        "dropped": _counts(both.dropped),
        "languages": _counts(written.languages),
        "licences": _counts(written.licences),
        "transformations": {**_counts(both.changed), "redacted": _counts(both.redacted)},
        "files": read.files,
        **({"passed_over": passed_over} if passed_over else {}),
    }


def _counts(counter: Mapping[str, int]) -> dict[str, int]:
    """The most frequent first."""
    return {name: n for name, n in sorted(counter.items(), key=lambda item: (-item[1], item[0])) if n}
