"""The input method against libime (Fcitx 5) and libpinyin (IBus), on the same sentences in the same run.

    python -m bench.pinyin --data DATA [--model FOLDER|none] [--most 500]

The opponents come from Debian (apt-get install libime-data libimepinyin-dev libimecore-dev libboost-dev libpinyin15-dev
libpinyin-data g++ pkg-config); one that is not installed is left out. Cold: no user's words, no learning. Milliseconds
are those of the processor, not of the clock on the wall: others use the machine, too.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from bench.pinyin_sets import Typed, sets, slipped, words
from bench.report import Goal, Report, Section
from haina.apps.pinyin.method import InputMethod

REACH = {"dialogue": (0.82, 0.960), "prose": (0.73, 0.940), "encyclopaedia": (0.50, 0.84)}
INITIALS = (0.33, 0.62, 0.73)
TYPOS, SAVED, TOP, PAGE = 0.6, 0.25, 10, 9
KEY_MS, SLOWEST_MS = 5.0, 20.0
LIBRARY = Path("/usr/lib/x86_64-linux-gnu")


@dataclass(frozen=True)
class Answers:
    """Candidates for each input, and milliseconds of CPU of each key."""

    texts: list[list[str]]
    key_ms: list[float]

    def first(self, asked: list[Typed], most: int = 1) -> float:
        """The share of inputs whose meaning is among the first so many."""
        found = (typed.text in texts[:most] for typed, texts in zip(asked, self.texts, strict=True))
        return sum(found) / len(asked)

    def characters(self, asked: list[Typed]) -> float:
        pairs = zip(asked, self.texts, strict=True)
        right = sum(
            sum(a == b for a, b in zip(typed.text, texts[0], strict=False)) for typed, texts in pairs if texts
        )
        return right / sum(len(typed.text) for typed in asked)

    def ms(self, share: float) -> float:
        return sorted(self.key_ms)[int(share * (len(self.key_ms) - 1))]


Side = Callable[[list[str]], Answers]


def opponents(folder: Path) -> dict[str, Side]:
    """Those that are installed, compiled into a folder."""
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "libpinyin"], capture_output=True, text=True)
    built = {
        "libime": (
            "-I/usr/include/LibIME -I/usr/include/Fcitx5/Utils -lIMEPinyin -lIMECore -lFcitx5Utils".split(),
            ["/usr/share/libime/sc.dict", str(LIBRARY / "libime/zh_CN.lm")],
        ),
        "libpinyin": (flags.stdout.split(), [str(LIBRARY / "libpinyin/data"), str(folder / "user")]),
    }
    (folder / "user").mkdir()
    found: dict[str, Side] = {}
    for name, (options, arguments) in built.items():
        source = Path(__file__).with_name(f"pinyin_{name}.cpp")
        command = ["g++", "-O2", "-std=c++17", str(source), "-o", str(folder / name), *options]
        if shutil.which("g++") and subprocess.run(command, capture_output=True).returncode == 0:
            found[name] = lambda keys, command=[str(folder / name), *arguments]: _asked(command, keys)  # type: ignore[misc]
        else:
            print(f"{name} is not installed; left out")
    return found


def _asked(command: list[str], keys: list[str]) -> Answers:
    run = subprocess.run(command, input="\n".join(keys) + "\n", capture_output=True, text=True, check=True)
    rows = [json.loads(line) for line in run.stdout.splitlines()]
    return Answers([row["candidates"] for row in rows], [ms for row in rows for ms in row["key_ms"]])


def ours(method: InputMethod, asked: Iterable[tuple[str, str]]) -> Answers:
    """(context, keys). Without a network typed key by key; one is asked when all keys are there, as after a pause."""
    texts, key_ms = [], []
    for context, keys in asked:
        typing = method.compose(context)
        for key in [keys] if method.ranker else keys:
            start = time.process_time()
            typing.type(key)
            found = typing.candidates(TOP)
            key_ms.append((time.process_time() - start) * 1e3)
        texts.append([candidate.text for candidate in found])
    return Answers(texts, key_ms)


def sentences(method: InputMethod, sides: dict[str, Side], found: dict[str, list[Typed]]) -> Section:
    """Full pinyin without separators, cold; ours also behind the left context."""
    rows, goals = [], []
    for kind, asked in found.items():
        answers = {
            "haina, without the network": ours(replace(method, ranker=None), (("", t.keys) for t in asked)),
            "haina": ours(method, (("", typed.keys) for typed in asked)),
            "haina, with context": ours(method, ((typed.before, typed.keys) for typed in asked)),
            **{name: side([typed.keys for typed in asked]) for name, side in sides.items()},
        }
        for name, side in answers.items():
            shares = [f"{side.first(asked, most):.3f}" for most in (1, 5, 10)]
            once = name.startswith("haina") and method.ranker and "without" not in name
            times = ["", ""] if once else [f"{side.ms(share):.2f}" for share in (0.5, 0.99)]
            rows.append([kind, str(len(asked)), name, *shares, f"{side.characters(asked):.3f}", *times])
        goals.append(Goal(f"{kind}: sentences right", answers["haina"].first(asked), REACH[kind][0]))
        goals.append(Goal(f"{kind}: characters right", answers["haina"].characters(asked), REACH[kind][1]))
        goals += _prompt(kind, answers)
        print(*rows[-len(answers) :], sep="\n", flush=True)
    header = [
        "text",
        "clauses",
        "",
        "P@1",
        "P@5",
        "P@10",
        "characters",
        "ms of CPU a key, median",
        "99th percentile",
    ]
    return Section("Sentences", "Clauses of 4 to 20 characters, from the valid split.", header, rows, goals)


def _prompt(kind: str, answers: dict[str, Answers]) -> list[Goal]:
    """How soon a key is answered, without waiting for the network."""
    ours = answers["haina, without the network"]
    slowest = max(SLOWEST_MS, 3 * answers["libime"].ms(0.99)) if "libime" in answers else SLOWEST_MS
    return [
        Goal(f"{kind}: ms of CPU a key, median", ours.ms(0.5), KEY_MS, most=True),
        Goal(f"{kind}: ms of CPU a key, 99th percentile", ours.ms(0.99), slowest, most=True),
    ]


def initials(method: InputMethod, sides: dict[str, Side], found: dict[str, list[Typed]]) -> Section:
    """Words of two to four characters by their initials alone."""
    known = frozenset(
        method.language.trie.text(word) for word in range(3, len(method.language.trie.char_start) - 1)
    )
    asked = [word for clauses in found.values() for word in words(clauses, known)]
    answers = {
        "haina, with context": ours(method, ((word.before, word.initials) for word in asked)),
        "haina": ours(replace(method, ranker=None), (("", word.initials) for word in asked)),
        **{name: side([word.initials for word in asked]) for name, side in sides.items()},
    }
    rows = [
        [name, *(f"{side.first(asked, most):.3f}" for most in (1, 5, 10))] for name, side in answers.items()
    ]
    goals = [
        Goal(f"initials, right in the first {most}", answers["haina, with context"].first(asked, most), reach)
        for most, reach in zip((1, 5, 10), INITIALS, strict=True)
    ]
    print(*rows, sep="\n", flush=True)
    return Section("Words by their initials", f"{len(asked)} words.", ["", "P@1", "P@5", "P@10"], rows, goals)


def typos(method: InputMethod, sides: dict[str, Side], found: dict[str, list[Typed]]) -> Section:
    """One slip in each sentence."""
    chance = random.Random(8)
    asked = [typed for clauses in found.values() for typed in clauses[::3] if len(typed.keys) > 3]
    slips = [slipped(typed, chance) for typed in asked]
    method = replace(method, ranker=None)
    whole = {"haina": lambda keys: ours(method, (("", k) for k in keys)), **sides}
    rows = []
    kept = {}
    for name, side in whole.items():
        clean, wrong = (side(keys).first(asked) for keys in ([t.keys for t in asked], slips))
        kept[name] = wrong / clean
        rows.append([name, f"{clean:.3f}", f"{wrong:.3f}", f"{kept[name]:.2f}"])
    print(*rows, sep="\n", flush=True)
    header = ["", "P@1 of clean keys", "with a slip", "kept"]
    note = f"{len(asked)} clauses, each with two keys swapped, one missed, one struck beside or twice."
    return Section("Slips", note, header, rows, [Goal("kept of P@1 with one slip", kept["haina"], TYPOS)])


def saved(method: InputMethod, _: dict[str, Side], found: dict[str, list[Typed]]) -> Section:
    """Keys of a user who takes predictions, then initials of a few characters, where they are on the first page."""
    method = replace(method, ranker=None)
    rows, whole, few = [], 0, 0
    for kind, clauses in found.items():
        asked = clauses[::5]
        full = sum(len(typed.keys) + 1 for typed in asked)
        keys = sum(_replayed(method, typed) for typed in asked)
        rows.append([kind, str(full), str(keys), f"{1 - keys / full:.3f}"])
        whole, few = whole + full, few + keys
    print(*rows, sep="\n", flush=True)
    header = ["text", "keys in full", "keys pressed", "saved"]
    return Section(
        "Keys saved",
        "Every fifth clause; the key that chooses counts.",
        header,
        rows,
        [Goal("keys saved", 1 - few / whole, SAVED)],
    )


def _replayed(method: InputMethod, typed: Typed) -> int:
    """Keys for a clause, choosing included."""
    at, pressed = 0, 0
    while at < len(typed.text):
        before, rest = typed.before + typed.text[:at], typed.text[at:]
        said = next((w.text for w in method.next_words(before, PAGE) if rest.startswith(w.text)), None)
        if said:
            at, pressed = at + len(said), pressed + 1
            continue
        for length in (4, 3, 2):
            keys = "".join(syllable[0] for syllable in typed.syllables[at : at + length])
            if len(keys) == length and rest[:length] in _page(method, before, keys):
                break
        else:
            length = min(2, len(rest))
            keys = "".join(typed.syllables[at : at + length])
            if rest[:length] not in _page(method, before, keys):
                length, keys = 1, typed.syllables[at]
        at, pressed = at + length, pressed + len(keys) + 1
    return pressed


def _page(method: InputMethod, before: str, keys: str) -> list[str]:
    return [candidate.text for candidate in method.candidates(keys, before, PAGE)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="")
    parser.add_argument("--most", type=int, default=500)
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks-pinyin.md"))
    asked = parser.parse_args()
    found = sets(asked.data, asked.most)
    method = InputMethod.open(ranker=_ranker(asked.model))
    with tempfile.TemporaryDirectory() as folder:
        sides = opponents(Path(folder))
        parts = list[Section]()
        for part in (sentences, initials, saved, typos):
            parts.append(part(method, sides, found))
            Report("python -m bench.pinyin", [f"{asked.most} clauses of each kind"], parts).write(asked.out)


def _ranker(model: str):  # type: ignore[no-untyped-def]
    if model == "none":
        return None
    from haina.apps.pinyin.neural import Network
    from haina.cli.app import EMBEDDED

    return Network.open(Path(model) if model else EMBEDDED).rank


if __name__ == "__main__":
    main()
