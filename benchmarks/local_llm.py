"""The generator's own language model, as a process."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def running_llm() -> Iterator[str]:
    """The address of its API, on a free port.

    Raises:
        ChildProcessError: it did not start; its own lines say why.
    """
    command = [sys.executable, "-m", "services.generator.local_llm", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            served = re.search(r"on (\S+/v1)", line)
            if served is None:
                raise ChildProcessError(f"The language model did not start: {line}")
            yield served[1]
        finally:
            process.terminate()
