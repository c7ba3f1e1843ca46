"""Teach a model to answer with LoRA, with haina as a library: python examples/sft.py MODEL TALKS RUN

TALKS is a .jsonl file of {"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}.
Afterwards: haina chat MODEL --adapter RUN/adapter
"""

import sys
from pathlib import Path

from haina.options.tuning import SftOptions
from haina.train.sft import prepare
from haina.train.tune import run

model, talks, folder = sys.argv[1:] if len(sys.argv) == 4 else sys.exit(__doc__)
job = prepare(Path(model), Path(talks), SftOptions(out=folder, lora=True, rank=8, epochs=3))
print(*job.told, sep="\n")
print(run(job))  # stopped by Ctrl-C or killed, it goes on where it was
