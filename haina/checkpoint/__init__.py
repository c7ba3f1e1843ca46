"""Model folders on disk: read without executing anything in them, written whole or not at all.

Read in this order: `raw` (a tensor as it lies in a file), `read_safetensors` and `read_pickle` (a format
each; `pickle_machine` is the part of pickle that we understand), `shards` (the weight files of one folder),
`layout` (their names and ours), `manifest` (what every file must be), `checkpoint` (open and save).
"""
