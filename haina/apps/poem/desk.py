"""The desk: options of a person → poems. It joins wish, model and what is done; it prints nothing."""

from __future__ import annotations

import re
from pathlib import Path

from haina.apps.model import Progress, load_model, opened
from haina.apps.poem.plan import Wish
from haina.apps.poem.write import Poem, Poet
from haina.options.models import ModelOptions
from haina.options.poem import PoemOptions

AT_ONCE = 8  # poems written side by side: room for so many contexts


def open_poet(folder: Path, options: PoemOptions, progress: Progress | None = None) -> Poet:
    """ValueError: as `open_model`."""
    checkpoint = opened(folder, progress)
    model = load_model(
        checkpoint, ModelOptions(threads=options.threads), conversations=AT_ONCE, progress=progress
    )
    return Poet(model)


def wish_of(options: PoemOptions) -> Wish:
    return Wish(
        form=options.form,
        keywords=tuple(filter(None, re.split(r"[,，、;；\s]+", options.keywords))),
        acrostic=options.acrostic,
        at=options.at,
        given=options.given,
        rhyme=options.rhyme,
        book=options.book or "",
        pattern=options.pattern,
        number=options.number,
        lines=options.lines,
        twists=options.twists,
        near=options.near,
    )


def answer(poet: Poet, options: PoemOptions) -> list[Poem]:
    """Poems that meet the options, best first. ValueError: what cannot be met."""
    theme, author = options.theme.strip(), options.author.strip()
    if options.couplet:
        return poet.answer_couplet(options.couplet, seed=options.seed)
    return poet.write(wish_of(options), theme=theme, author=author, seed=options.seed)
