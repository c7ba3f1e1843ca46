"""Teach a model the style of a text with QLoRA and haina as a library: python examples/lora.py MODEL TEXT ADAPTER

The model's weights stay packed in 4 (or 8) bits; an adapter of some hundred kilobytes is trained and written.
Afterwards: haina serve MODEL poet=ADAPTER, and ask for the model `poet`; or haina merge MODEL ADAPTER NEW
"""

import sys
from pathlib import Path

import torch

from haina.checkpoint.checkpoint import Checkpoint
from haina.train.lora import Lora, fresh, open_decoder
from haina.train.objectives import next_token

model, text, folder = map(Path, sys.argv[1:4])
checkpoint = Checkpoint.open(model)
decoder = open_decoder(checkpoint, bits=4)
lora = Lora(decoder, fresh(decoder.config, rank=8, targets=["W_pack"], base=model.name))

ids = torch.tensor(checkpoint.tokenizer.encode(text.read_text("utf-8")))
optimiser = torch.optim.AdamW((p for p in decoder.parameters() if p.requires_grad), lr=3e-3)
for step in range(20):
    rows = torch.stack([ids[at : at + 33] for at in torch.randint(len(ids) - 33, (4,))])
    nats, loss = next_token(decoder, {"ids_BT": rows[:, :-1], "targets_BT": rows[:, 1:]})
    loss.backward()
    optimiser.step()
    optimiser.zero_grad()
    print(f"step {step}: {nats.item():.3f} nats a token")
lora.adapter().write(folder)
