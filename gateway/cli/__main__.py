"""`python -m gateway.cli`: the command `backdrop` without its script."""

from gateway.cli.app import main

main()
