"""What an upsert has acknowledged survives the death of the process."""

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from services.ranker.edge_store import open_edge_store
from tests.unit.services.ranker.fakes import WordCounter

WRITER = textwrap.dedent(
    """
    import asyncio, itertools, sys
    from pathlib import Path

    from services.ranker.edge_store import open_edge_store
    from services.ranker.ranking import EmbeddedBackground
    from tests.unit.services.ranker.fakes import WordCounter, background

    async def write() -> None:
        encoder = WordCounter()
        async with open_edge_store(Path(sys.argv[1]), encoder.space) as store:
            for number in itertools.count():
                item = background(f"shop/b{number}", f"caption {number}")
                await store.upsert([EmbeddedBackground(item, encoder.encode(item.captions))])
                print(number, flush=True)

    asyncio.run(write())
    """
)


@pytest.mark.parametrize("acknowledged", [1, 150])
async def test_what_was_acknowledged_before_kill_9_is_there(tmp_path: Path, acknowledged: int) -> None:
    path = tmp_path / "store"
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for _ in range(acknowledged):
            last = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        # What it had acknowledged in the meantime counts as well.
        last = max([last, *map(int, writer.stdout.read().splitlines())])

    async with open_edge_store(path, WordCounter().space) as store:
        stored = {each.name.background for each in (await store.page("shop", 100_000)).backgrounds}

    assert {f"b{number}" for number in range(last + 1)} <= stored
