"""Model folders on disk: read without executing anything in them, written whole or not at all.

Read in this order: `raw` (a tensor as it lies in a file), `read_safetensors` and `read_pickle` (a format
each; `pickle_machine` is the part of pickle that we understand), `read_nf4` (4-bit matrices in either), `shards`
(the weight files of one folder), `read_gguf` (with `gguf_blocks`, `gguf_model`, `gguf_vocabulary`: one file is all),
`layout` (their names and ours), `manifest` (what every file must be), `checkpoint` (open and save), `convert` (to
fewer bits), `export` (for other programs: `export_plan`, `export_folder`, `export_tokenizer`, `export_gguf`,
`write_gguf`).
"""
