"""The desk: options of a person → poems. It joins wish, model and what is done; it prints nothing."""

from __future__ import annotations

import re
from pathlib import Path

from haina.apps.model import Model, Progress, load_model, opened
from haina.apps.poem.plan import Wish
from haina.apps.poem.write import Poet, Writing
from haina.options.models import ModelOptions
from haina.options.poem import PoemOptions

AT_ONCE = 8  # poems written side by side: room for so many contexts


def open_model(folder: Path, options: PoemOptions, progress: Progress | None = None) -> Model:
    """A model with room for several poems at once. ValueError: as apps/model.py's."""
    asked = ModelOptions(threads=options.threads)
    return load_model(opened(folder, progress), asked, conversations=AT_ONCE, progress=progress)


def wish_of(options: PoemOptions) -> Wish:
    return Wish(
        form=options.form,
        keywords=tuple(filter(None, re.split(r"[,，、;；\s]+", options.keywords))),
        acrostic=options.acrostic,
        at=options.at,
        given=options.given,
        scope=options.scope,
        rhyme=options.rhyme,
        book=options.book or "",
        pattern=options.pattern,
        number=options.number,
        lines=options.lines,
        twists=options.twists,
        near=options.near,
    )


def writing(poet: Poet, options: PoemOptions) -> Writing:
    """Poems that meet the options, best first. ValueError: what cannot be met."""
    if options.couplet:
        return poet.answer_couplet(options.couplet, seed=options.seed)
    if options.quote:
        return poet.collect(wish_of(options), theme=options.theme, seed=options.seed)
    return poet.write(wish_of(options), theme=options.theme, author=options.author, seed=options.seed)
