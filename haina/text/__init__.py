"""Characters ↔ ids. Knows no weights, no sampling, no HTTP.

Read in this order: `tokenizer` (over `spm`, the bytes of a tokenizer.model), `stream` (ids → text while
they come), `messages` (a conversation → ids), `vocabulary` (learn a tokenizer.model from text).
"""
