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
    from haina.apps.poem.desk import answer, open_poet
    from haina.apps.poem.show import record, told

    with Status() as status:
        poet = open_poet(named(Path(options.model)) if options.model else EMBEDDED, options, status.progress)
    for text in poet.model.checkpoint.notes:
        note(text)
    poems = answer(poet, options)[: options.poems]
    if options.json:
        print(as_json([record(each) for each in poems]))
    else:
        print(
            "\n\n".join(told(each, vertical=options.vertical, explain_it=options.explain) for each in poems)
        )
