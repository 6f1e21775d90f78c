"""The locks are in line with pyproject.toml and constraints.txt: run make locks."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy.locks import EXTRAS, FOLDER, ROOT, TORCH_FILE

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pins(path: Path) -> Mapping[str, str]:
    found = re.findall(r"^([\w.-]+)(?:\[.*?\])?==(\S+)", path.read_text(), re.MULTILINE)
    return {canonicalize_name(name): version for name, version in found}


TORCH = pins(FOLDER / TORCH_FILE)
TESTED = pins(ROOT / "constraints.txt")


@pytest.mark.parametrize("image", EXTRAS)
def test_an_image_installs_what_the_project_asks_for(image: str) -> None:
    locked = {**pins(FOLDER / f"{image}.txt"), **TORCH}
    extras = (PROJECT["optional-dependencies"][extra] for extra in EXTRAS[image])
    for line in (*PROJECT["dependencies"], *(line for extra in extras for line in extra)):
        wanted = Requirement(line)
        assert wanted.specifier.contains(locked[canonicalize_name(wanted.name)]), line


@pytest.mark.parametrize("name", [*(f"{image}.txt" for image in EXTRAS), TORCH_FILE])
def test_a_lock_has_the_tested_versions_and_a_hash_for_each(name: str) -> None:
    locked = pins(FOLDER / name)
    differing = {each for each, version in locked.items() if TESTED.get(each, version) != version}
    assert not differing
    blocks = re.split(r"^(?=[a-zA-Z0-9])", (FOLDER / name).read_text(), flags=re.MULTILINE)[1:]
    assert len(blocks) == len(locked)
    assert all("--hash=sha256:" in block for block in blocks)


def test_torch_stands_in_a_file_of_its_own() -> None:
    assert {"torch", "torchvision"} <= set(TORCH)
    assert not any(set(TORCH) & set(pins(FOLDER / f"{image}.txt")) for image in EXTRAS)
