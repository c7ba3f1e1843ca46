"""Teach a model to answer with LoRA, with haina as a library: python examples/sft.py MODEL TALKS RUN

TALKS is a .jsonl file of {"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}.
Afterwards: haina merge MODEL RUN/adapter NEW && haina chat NEW
"""

import sys
from pathlib import Path

from haina.options.tuning import SftOptions
from haina.train.sft import prepare
from haina.train.tune import run

model, talks, folder = sys.argv[1:]
options = SftOptions(
    out=folder, lora=True, rank=8, epochs=3, targets="W_pack,o_proj,gate_proj,up_proj,down_proj"
)
job = prepare(Path(model), Path(talks), options)
print(*job.told, sep="\n")
print(run(job))  # stopped by Ctrl-C or killed, it goes on where it was
