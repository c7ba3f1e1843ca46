"""couyun's opinion of our verse: hulbji/couyun@1744e87 (MIT), a checker of 诗 and 词 with tables and rules of its own.

Its program first guesses the pattern of a 诗 from its first line, and guesses wrong where that line has many characters
of two tones; a poem that it refuses is therefore read once more by its tables alone along the pattern that ours has.
For 词 its tables are asked along its own patterns. Characters that it does not have count as right, as in its program.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.report import Goal, Section
from haina.apps.poem.explain import explain
from haina.apps.poem.form import SHI, Form
from haina.text.characters import HAN

PINGSHUI, CILIN = 1, True
EITHER, LEVEL, OBLIQUE, UNKNOWN = "0123"  # its codes
UNKNOWN_PART = 107


class Couyun:
    """A checkout of its repository."""

    def __init__(self, folder: Path):
        sys.path.insert(0, str(folder))
        from couyun.ci.ci_rhythm import CiRhythm, _yun_data_process  # type: ignore[import-not-found]
        from couyun.common.common import hanzi_rhythm, hanzi_to_pingze, hanzi_to_yun  # type: ignore
        from couyun.shi.shi_rhythm import ShiRhythm  # type: ignore[import-not-found]

        self._shi, self._ci, self._rhymed = ShiRhythm, CiRhythm, _yun_data_process
        self._parts, self._tone, self._ci_parts = hanzi_rhythm, hanzi_to_pingze, hanzi_to_yun
        tables = folder / "couyun" / "ci_pu"
        index = json.loads((tables / "ci_index.json").read_bytes())
        self._files = {
            entry["names"][0]: tables / "ci_list" / f"cipai_{entry['idx']}.json" for entry in reversed(index)
        }

    def program(self, text: str) -> bool:
        """Its program on a 诗."""
        try:
            said = self._shi(PINGSHUI, "".join(HAN.findall(text)), [], False).main_shi()
        except KeyError:  # where it finds no pattern
            return False
        return isinstance(said, str) and "●" not in said and "不押" not in said

    def tables(self, form: Form, text: str) -> bool:
        """Its tables on a 诗, along the pattern that ours has."""
        why = explain(form, text)
        assert why
        signs = [sign for line in why.lines for sign in line]
        wrong = {"-": OBLIQUE, "|": LEVEL}
        if any(self._tone(s.char, PINGSHUI, False) == wrong.get(s.wanted) for s in signs):
            return False
        feet = [set(self._parts(sign.char, False)) for sign in signs if sign.rhyme]
        return bool(set.intersection(*(parts for parts in feet if UNKNOWN_PART not in parts)))

    def tune(self, name: str, number: int, text: str) -> bool:
        """Its tables on a 词, along its own pattern."""
        form: dict[str, Any] = json.loads(self._files[name].read_bytes())[number - 1]
        chars = "".join(HAN.findall(text))
        tones = self._ci(PINGSHUI, name, chars, "", str(number), 1, False)._ping_ze_right(form["ge_lyu_str"])
        feet = [chars[at] for at in form["rhyme_pos"]]
        parts = [self._ci_parts(foot, PINGSHUI, False, ci_lin=CILIN) for foot in feet]
        rhymes = self._rhymed(form["rhyme_pos"], feet, form["yun_classify"], parts)
        return False not in tones and all(foot["is_yayun"] for foot in rhymes)


def second_opinion(folder: Path, poems: Sequence[tuple[Form, int, str]]) -> Section:
    """Of poems with their forms and the numbers of these."""
    couyun = Couyun(folder)
    shi = [(form, text) for form, _, text in poems if form.name[:2] in SHI]
    refused = [(form, text) for form, text in shi if not couyun.program(text)]
    wrong = [text for form, text in refused if not couyun.tables(form, text)]
    ci = [(form.name, number, text) for form, number, text in poems if form.name[:2] not in SHI]
    tunes = sum(couyun.tune(*one) for one in ci) / len(ci)
    by_program, by_tables = 1 - len(refused) / len(shi), 1 - len(wrong) / len(shi)
    rows = [
        ["诗, its program", str(len(shi)), f"{by_program:.2%}"],
        ["诗, its program or its tables", str(len(shi)), f"{by_tables:.2%}"],
        ["词, its tables", str(len(ci)), f"{tunes:.2%}"],
    ]
    goals = [
        Goal("诗 that couyun's program accepts", by_program, 0.995),
        Goal("诗 that couyun's program or tables accept", by_tables, 0.995),
        Goal("词 that couyun accepts", tunes, 0.995),
    ]
    note = "hulbji/couyun@1744e87 on the poems by the model. Refused by its tables: " + (
        "；".join(text.replace("\n", "") for text in wrong[:8]) or "none"
    )
    return Section("An independent checker", note, ["what", "poems", "accepted"], rows, goals)
