"""One torch thread for tiny networks: two would only wait for each other."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
