"""What holds for all tests."""

import os
import sys

import structlog
from hypothesis import settings

# Log lines of a server in the test's own process are no output of a command that is run beside it.
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.__stderr__))

# How long an example takes is the machine's affair.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# What the command line prints is not cut to the terminal of whoever runs the tests.
os.environ["COLUMNS"] = "200"
