"""Numbers and pictures about a checkpoint."""
