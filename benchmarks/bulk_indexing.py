"""`make bench-bulk`: images/s of the bulk job with one and two workers, of a CPU each, and of `backdrop import`."""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image
from rich.table import Table

from benchmarks.samples import LIBRARY, PORT, running_stack
from gateway.cli.console import stdout

COUNT = 64


def make_pictures(folder: Path, count: int) -> None:
    """Distinct pictures: the samples, cropped by a few pixels more in each round."""
    samples = sorted(LIBRARY.glob("*.jpg"))
    for number in range(count):
        sample, cut = samples[number % len(samples)], 4 * (number // len(samples))
        with Image.open(sample) as image:
            cropped = image.crop((cut, cut, image.width - cut, image.height - cut))
            cropped.save(folder / f"{sample.stem}-{number}.jpg", quality=90)


def run(command: list[str], target: str) -> tuple[float, str]:
    """Seconds that a command took, and what it printed."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", *command, "--target", target], text=True, capture_output=True)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return time.perf_counter() - started, done.stdout


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=COUNT, help="pictures of each run")
    count = parser.parse_args().count
    table = Table("what", "pictures", "s", "images/s, start included", box=None)
    with tempfile.TemporaryDirectory() as name, running_stack():
        folder, report = Path(name) / "pictures", Path(name) / "report.jsonl"
        folder.mkdir()
        make_pictures(folder, count)
        job = ["jobs.index_library", str(folder), "--report", str(report)]
        runs = {
            "backdrop import": ["gateway.cli", "import", str(folder), "--library", "service"],
            "job, 1 worker": [*job, "--workers", "1", "--cpus", "1", "--library", "one"],
            "job, 2 workers": [*job, "--workers", "2", "--cpus", "1", "--library", "two"],
            "job, all unchanged": [*job, "--workers", "1", "--library", "one"],
        }
        for what, command in runs.items():
            took_s, printed = run(command, f"127.0.0.1:{PORT}")
            stdout.print(f"{what}: {re.sub(chr(10), ' ', printed)}")
            table.add_row(what, str(count), f"{took_s:.0f}", f"{count / took_s:.1f}")
    stdout.print(table)


if __name__ == "__main__":
    main()
