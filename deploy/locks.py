"""Writes `requirements/`: what each image installs, every package with its version and hashes (`make locks`).

torch is left out of the services' files: a build for CPUs and one for CUDA have the same version and different hashes,
and only the one for CUDA is on PyPI. That one and what it brings stand in `torch-cuda.txt`.
"""

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "requirements"
EXTRAS = {
    "captioner": ["captioner"],
    "generator": ["generator"],
    "llm": ["generator", "llm"],
    "ranker": ["ranker"],
    "compositor": ["compositor"],
    "gateway": ["gateway"],
}
"""The extras of each image."""
TORCH_FILE = "torch-cuda.txt"
HEADER = "# Written by `make locks`. Install with: pip install --no-deps --require-hashes --requirement THIS_FILE\n"

_OF_TORCH = re.compile(r"(torch|torchvision|triton|nvidia-|cuda-)")
_BLOCK = re.compile(r"^[A-Za-z0-9].*(?:\n .*)*", re.MULTILINE)


def write() -> None:
    """Resolves each image's extras within constraints.txt, and writes the files."""
    FOLDER.mkdir(exist_ok=True)
    of_torch: dict[str, str] = {}
    for image, extras in EXTRAS.items():
        pins = {pin.split("==")[0]: pin for pin in _BLOCK.findall(_resolve(extras))}
        of_torch |= {name: pin for name, pin in pins.items() if _OF_TORCH.match(name)}
        _write(f"{image}.txt", [pin for name, pin in pins.items() if name not in of_torch])
    _write(TORCH_FILE, [of_torch[name] for name in sorted(of_torch)])


def _resolve(extras: Sequence[str]) -> str:
    options = ["--generate-hashes", "--universal", "--no-header", "--no-annotate", "--no-emit-index-url", "--quiet"]
    wanted = [option for extra in extras for option in ("--extra", extra)]
    command = [sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml", "--python-version", "3.11"]
    limits = ["--constraint", "constraints.txt"]
    return subprocess.run(
        [*command, *options, *wanted, *limits], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def _write(name: str, pins: Sequence[str]) -> None:
    (FOLDER / name).write_text(HEADER + "\n".join(pins) + "\n")


if __name__ == "__main__":
    write()
