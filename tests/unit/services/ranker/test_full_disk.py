"""A disk that is really full: a small one, mounted in a namespace of the test's own."""

import subprocess
import sys
from pathlib import Path

import pytest

SCENARIO = """
import asyncio, os, sys
from pathlib import Path
from chassis.errors import BackdropError
from services.ranker.config import RankerConfig
from services.ranker.edge_store import open_edge_store
from tests.unit.services.ranker.fakes import background, indexed, space_of
import numpy as np

SPACE = space_of()
DISK = Path(sys.argv[1])
CAPTIONS = np.ones((1, SPACE.dimension), dtype=np.float32)

def items(start):
    return [indexed(background(f"shop/b{start + n}"), CAPTIONS, SPACE) for n in range(50)]

async def outcome(call):
    try:
        await call
        return "stored"
    except BackdropError as error:
        return error.reason

async def main():
    async with open_edge_store(RankerConfig(store_path=DISK / "store", store_min_free_mib=4), SPACE) as store:
        await store.upsert(items(0))
        with (DISK / "hog").open("wb", buffering=0) as hog:
            try:
                while True:
                    hog.write(bytes(1 << 20))
            except OSError:
                pass
        print(await outcome(store.upsert(items(100))))
        print(await store.count("shop"))
        (DISK / "hog").unlink()
        print(await outcome(store.upsert(items(200))))
        print(await store.count("shop"))

if __name__ == "__main__":
    asyncio.run(main())
"""


def test_a_full_disk_refuses_what_comes_and_keeps_what_was_acknowledged(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    (tmp_path / "scenario.py").write_text(SCENARIO)
    mounted = f"mount -t tmpfs -o size=400m tmpfs {disk}"
    if subprocess.run(["unshare", "-rm", "sh", "-c", mounted], capture_output=True).returncode:
        pytest.skip("this system allows no file system in a namespace")

    command = f'{mounted} && exec "{sys.executable}" "{tmp_path / "scenario.py"}" "{disk}"'
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", command], env={"PYTHONPATH": ".:gen"}, capture_output=True, text=True
    )

    assert done.stdout.split() == ["STORE_FULL", "50", "stored", "100"], done.stderr
