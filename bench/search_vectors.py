"""Search with and without vectors by a model's `embed`: whether the fused order is better.

    python -m bench.search_vectors --data FOLDER --model MODEL [--model …] [--every 4]

FOLDER as in search.py. XQuAD: 1,190 questions in each language over the same 240 paragraphs; the question in one, the
paragraphs in one, so that each pair of languages is a row. `vectors`: the order of the nearest alone.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.report import Report, Section
from bench.search import TOP, Asked, filled, pool, questions
from haina.apps.model import Model, open_model
from haina.apps.search.rank import Ranking, fused
from haina.apps.search.store import Passage, Store
from haina.apps.search.vectors import fill, near
from haina.options.models import ModelOptions

PAIRS = (("en", "en"), ("zh", "zh"), ("en", "zh"), ("zh", "en"))


def place(asked: Asked, passages: Sequence[Passage]) -> int:
    """At which place the paragraph of a question came, whatever its language."""
    numbers = list(dict.fromkeys(passage.document.split("/")[1] for passage in passages))
    number = asked.document.split("/")[1]
    return numbers.index(number) if number in numbers else TOP


def measured(store: Store, asked: Sequence[Asked], model: Model) -> list[list[int]]:
    """The places by words, by vectors, by both."""
    fill(store, model, "")
    ranking, nearest, places = Ranking(store), near(store, lambda folder: model), []
    for each in asked:
        question = ranking.question(each.question)
        found = ranking.find(question, TOP)
        others = [ranking.scored(question, passage) for passage in store.passages(nearest(each.question))]
        orders = (found, others, fused(found, others)[:TOP])
        places.append([place(each, [ranked.passage for ranked in order]) for order in orders])
    return places


def section(data: Path, model: Model, every: int) -> Section:
    rows = []
    for asks, holds in PAIRS:
        with tempfile.TemporaryDirectory() as folder:
            store = Store(Path(folder) / "x.db", new=True)
            filled(store, pool(data, [f"xquad.{holds}"]))
            places = np.array(measured(store, questions(data, f"xquad.{asks}", every), model))
            store.close()
        shares = (np.mean(places[:, order] < most) for order in range(3) for most in (1, 10))
        rows.append([f"{asks} → {holds}", *(f"{share:.3f}" for share in shares)])
    header = ["", *(f"{order}, R@{most}" for order in ("words", "vectors", "both") for most in (1, 10))]
    config = model.checkpoint.config
    note = f"{config.parameters / 1e6:.1f} M parameters, {config.hidden_size} numbers in a vector."
    return Section(f"Vectors of {model.name}", note, header, rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", action="append", required=True)
    parser.add_argument("--every", type=int, default=4, help="one question of so many")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks-search-vectors.md"))
    given = parser.parse_args()
    models = [open_model(folder, ModelOptions(threads=1)) for folder in given.model]
    parts = [section(given.data, model, given.every) for model in models]
    Report("python -m bench.search_vectors", [f"one question of {given.every}"], parts).write(given.out)


if __name__ == "__main__":
    main()
