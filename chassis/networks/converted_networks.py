"""Networks as OpenVINO takes them, kept on disk, so that a later start need not convert them again."""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import structlog

from chassis.networks.network import NetworkSource

log = structlog.get_logger(__name__)

# To be raised when a tower's own code changes what it computes.
_TOWERS_VERSION = 1
_PACKAGES = ("openvino", "torch", "timm", "open_clip_torch", "transformers")


class ConvertedNetworks:
    """A folder with a folder for each network, which holds its graph, its weights and the digest of both.

    Folders are written atomically, and several processes may share them. A network that is damaged, or that was
    converted from something else or by other versions, counts as not there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, source: NetworkSource) -> Path | None:
        """The graph of that network, whole and up to date, or None."""
        folder = self._folder / _folder_name(source)
        try:
            record = json.loads((folder / "record.json").read_text())
            if record["origin"] != _origin(source):
                return None
            if record["sha256"] == _digest(folder):
                return folder / "network.xml"
            log.warning("converted_network_damaged", network=source.name, path=str(folder))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("converted_network_damaged", network=source.name, path=str(folder), error=str(error))
        return None

    def keep(self, source: NetworkSource, write: Callable[[Path], None]) -> None:
        """Keeps what `write` writes to the path that it is given; a folder that cannot be written costs time only."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self._folder, prefix=".partial-") as partial:
                folder = Path(partial) / "network"
                folder.mkdir()
                write(folder / "network.xml")
                (folder / "record.json").write_text(json.dumps({"origin": _origin(source), "sha256": _digest(folder)}))
                target = self._folder / _folder_name(source)
                shutil.rmtree(target, ignore_errors=True)
                os.rename(folder, target)
        # OpenVINO raises RuntimeError when a disk is full.
        except (OSError, RuntimeError) as error:
            log.warning("converted_network_not_kept", network=source.name, path=str(self._folder), error=str(error))


def _folder_name(source: NetworkSource) -> str:
    digest = hashlib.sha256(source.name.encode()).hexdigest()[:8]
    return f"{re.sub(r'[^A-Za-z0-9.]+', '-', source.name)[-80:]}-{digest}"


def _origin(source: NetworkSource) -> list[str]:
    return [source.name, f"towers {_TOWERS_VERSION}", *[f"{name} {_version(name)}" for name in _PACKAGES]]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for name in ("network.xml", "network.bin"):
        with (folder / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
