"""Pre-train a small model on a text file with haina as a library: python examples/pretrain.py TEXT RUN

The text is a UTF-8 file with an empty line between documents; of a real corpus make tokens with `haina data build`.
Afterwards: haina run RUN/model --raw "…"
"""

import sys
from pathlib import Path

from haina.data.encode import Encoding, write
from haina.options.training import PretrainOptions
from haina.text.vocabulary import learn
from haina.train.pretrain import prepare, run

text, folder = Path(sys.argv[1]), Path(sys.argv[2])
documents = text.read_text("utf-8").split("\n\n")

folder.mkdir(parents=True, exist_ok=True)
tokenizer = folder / "tokenizer.model"
if not tokenizer.exists():
    tokenizer.write_bytes(learn(text.read_text("utf-8").splitlines(), pieces=600, coverage=0.99))
if not (folder / "tokens" / "tokens.json").exists():
    write(
        ({"text": document, "domain": "text"} for document in documents),
        folder / "tokens",
        Encoding(str(tokenizer)),
    )

options = PretrainOptions(size="xs", out=str(folder), tokens=20_000, length=64, batch=512, valid_every=20)
job = prepare(folder / "tokens", options)
print(job.plan.text())
print(run(job))  # stopped by Ctrl-C or killed, it goes on where it was
