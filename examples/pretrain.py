"""Pre-train a small model on a text file with haina as a library: python examples/pretrain.py TEXT RUN

The text is a UTF-8 file with an empty line between documents; of a real corpus make tokens with `haina data build`.
Afterwards: haina run RUN/model --raw "…"
"""

import sys
from pathlib import Path

from haina.data.encode import Encoding, write
from haina.options.training import PretrainOptions
from haina.text.vocabulary import FIXED, learn
from haina.train.pretrain import prepare, run

if len(sys.argv) != 3:
    sys.exit(__doc__)
text, folder = Path(sys.argv[1]).read_text("utf-8"), Path(sys.argv[2])
documents = [document for document in text.split("\n\n") if document.strip()]
tokenizer = folder / "tokenizer.model"

folder.mkdir(parents=True, exist_ok=True)
if not tokenizer.exists():
    pieces = FIXED + min(16000, len(text) // 40)  # as many as the text can fill
    tokenizer.write_bytes(learn(text.splitlines(), pieces=pieces, coverage=0.99))
if not (folder / "tokens" / "tokens.json").exists():
    rows = ({"text": document, "domain": "text"} for document in documents)
    write(rows, folder / "tokens", Encoding(str(tokenizer)))

job = prepare(folder / "tokens", PretrainOptions(size="xs", out=str(folder), length=64, patience=3))
print(job.plan.text())
print(run(job))  # stopped by Ctrl-C or killed, it goes on where it was
