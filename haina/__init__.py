"""haina (海纳): an open Chinese–English language-model system that runs on one's own machine.

The two lines below are the architecture; tests/test_layers.py holds the source to them. A module imports only
from layers to its left or from its own folder, by full name; torch only in the files of the second line.

Layers: wording < options, flags, native, text < model, guard < checkpoint < data < engine, train < evaluate, apps < jobs, serve < cli
Torch: model/decoder.py, model/cache.py, model/linear.py, engine/runner_torch.py, train/
"""

__version__ = "0.1.0"
