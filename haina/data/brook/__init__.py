"""The text that haina-brook (海纳·溪) is trained on: `base.base` gives what it reads, `talks.talks` what it says.

Rows in, rows out: a row is what haina/data/encode.py reads. Only `sources.py` opens files of the data pack, so only
there a licence can be overlooked. It knows nothing of vocabularies, of packing, nor of how the network is trained.
"""
