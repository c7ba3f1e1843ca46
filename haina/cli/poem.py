"""The verb poem."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from haina.apps.screen import Status, interactive, note
from haina.cli.app import EMBEDDED, app, as_json, named
from haina.flags import Verb, with_flags
from haina.options.poem import PoemOptions
from haina.wording import say


@app.command(
    cls=Verb,
    help=say(
        "Write classical Chinese verse: 绝句, 律诗, 词 to any tune, couplets; every form is kept.",
        "写诗填词：绝句、律诗、任意词牌、对联，格律必合。",
    ),
)
@with_flags
def poem(*, options: PoemOptions) -> None:
    if options.forms:
        from haina.apps.poem.terminal import forms

        print(forms(options.forms))
        return
    _write(options)


def _write(options: PoemOptions) -> None:
    from haina.apps.poem.desk import open_model, writing
    from haina.apps.poem.show import drawn, record, suits
    from haina.apps.poem.terminal import Look, told
    from haina.apps.poem.write import Poet, settled

    picture = suits(Path(options.picture)) if options.picture else None
    with Status() as status:
        model = open_model(
            named(Path(options.model)) if options.model else EMBEDDED, options, status.progress
        )
    for text in model.checkpoint.notes:
        note(text)
    poems = settled(model.engine, writing(Poet(model), options))[: options.poems]
    if picture:
        drawn(poems[0], picture, title=options.theme)
    if options.json:
        print(as_json([record(each, references=options.references) for each in poems]))
        return
    look = Look(
        options.vertical,
        options.explain,
        options.references,
        headed=interactive(sys.stdout) or len(poems) > 1,
        coloured=interactive(sys.stdout) and "NO_COLOR" not in os.environ,
    )
    print("\n\n".join(told(each, look, title=options.theme) for each in poems))
