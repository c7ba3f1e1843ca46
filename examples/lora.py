"""Teach a model the style of a text with QLoRA, weights packed in 4 bits: python examples/lora.py MODEL TEXT ADAPTER"""

import sys
from pathlib import Path

import torch

from haina.checkpoint.checkpoint import Checkpoint
from haina.train.lora import Lora, fresh, open_decoder
from haina.train.objectives import next_token

model, text, adapter = sys.argv[1:] if len(sys.argv) == 4 else sys.exit(__doc__)
checkpoint = Checkpoint.open(model)
lora = Lora(open_decoder(checkpoint, bits=4), fresh(checkpoint.config, base=model))
ids = torch.tensor(checkpoint.tokenizer.encode(Path(text).read_text("utf-8")))
optimiser = torch.optim.AdamW((p for p in lora.decoder.parameters() if p.requires_grad), lr=3e-3)
for _ in range(20):
    rows = torch.stack([ids[at : at + 33] for at in torch.randint(len(ids) - 33, (4,))])
    nats, loss = next_token(lora.decoder, {"ids_BT": rows[:, :-1], "targets_BT": rows[:, 1:]})
    print(f"{nats.item():.3f} nats a token")
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
lora.adapter().write(adapter)  # afterwards: haina chat MODEL --adapter ADAPTER
