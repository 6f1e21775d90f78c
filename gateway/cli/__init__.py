"""The command `backdrop`: run the servers on this machine, fill a library, ask for backgrounds."""

from gateway.cli.app import main

__all__ = ["main"]
