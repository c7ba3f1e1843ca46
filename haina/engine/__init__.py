"""Checkpoint → tokens. Ids in, ids out: no text, no HTTP, no policy."""
