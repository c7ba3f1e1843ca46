"""The verb poem."""

from __future__ import annotations

from pathlib import Path

from haina.apps.screen import Status, note
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
    from haina.apps.poem.desk import open_model, writing
    from haina.apps.poem.show import drawn, record, told
    from haina.apps.poem.write import Poet, settled

    with Status() as status:
        model = open_model(
            named(Path(options.model)) if options.model else EMBEDDED, options, status.progress
        )
    for text in model.checkpoint.notes:
        note(text)
    poems = settled(model.engine, writing(Poet(model), options))[: options.poems]
    if options.picture:
        drawn(poems[0], Path(options.picture), title=options.theme)
    if options.json:
        print(as_json([record(each, references=options.references) for each in poems]))
        return
    shown = (
        told(each, vertical=options.vertical, explains=options.explain, references=options.references)
        for each in poems
    )
    print("\n\n".join(shown))
