"""`python -m haina` is `haina`."""

from haina.cli.program import main

main()
