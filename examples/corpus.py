"""Build a corpus from a folder of texts with haina as a library: python examples/corpus.py FOLDER CORPUS

FOLDER holds .txt, .md, .html or .jsonl files that are yours to use. Afterwards: haina tokenizer train CORPUS
"""

import json
import sys
from pathlib import Path

from haina.data.build import build
from haina.options.data import BuildOptions

if len(sys.argv) != 3:
    sys.exit(__doc__)
folder, corpus = Path(sys.argv[1]), Path(sys.argv[2])
recipe = corpus.with_name(f"{corpus.name}.toml")
recipe.write_text(
    f'name = "mine"\n[[source]]\nname = "mine"\npath = {json.dumps(str(folder.resolve()))}\nlicence = "CC0-1.0"\n',
    "utf-8",
)

if __name__ == "__main__":  # the processes that do the work read this file, too
    print(build(recipe, BuildOptions(out=str(corpus)), report=print))
