"""`python -m haina` is `haina`."""

from haina.cli import main

main()
