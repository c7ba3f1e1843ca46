"""Benchmarks of haina on this machine: `python -m bench.inference`. No part of the product imports this."""
