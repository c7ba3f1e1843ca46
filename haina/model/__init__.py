"""The network: as data (config.py, families.py, no torch) and as a page to read (decoder.py, torch)."""
