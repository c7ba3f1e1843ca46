"""Raw text → documents → packed rows of tokens."""
