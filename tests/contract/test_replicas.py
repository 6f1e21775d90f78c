"""Several captioners and generators behind one gateway: what is in trouble is avoided, and callers do not notice."""

import asyncio
import signal
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from typing import Any

import pytest

from chassis.errors import BackdropError, InvalidArgument
from gateway.domain import Feature, Label, Subject
from gateway.peers.captioner import Captioner
from gateway.peers.generator import Generator
from gateway.peers.peer import Peer
from tests.servers.replica import replica, target

FEATURES = (Feature("object_type", (Label("mug", 0.9, 0.5),)),)
PATIENT_S = 10.0

Ask = Callable[[float], Coroutine[Any, Any, str]]


def asking(peer: Peer) -> Ask:
    """One call, which tells the process that answered it."""

    async def read(timeout_s: float) -> str:
        assert isinstance(peer, Captioner)
        return (await peer.read(b"photo", Subject.PRODUCT, timeout_s)).model

    async def write(timeout_s: float) -> str:
        assert isinstance(peer, Generator)
        return (await peer.write(FEATURES, Subject.PRODUCT, 1, "", timeout_s)).model

    return read if isinstance(peer, Captioner) else write


async def ask_often(ask: Ask, count: int, timeout_s: float = PATIENT_S) -> Counter[str]:
    """Calls, one begun every 20 ms: who answered how many of them."""
    calls: list[asyncio.Task[str]] = []
    for _ in range(count):
        calls.append(asyncio.create_task(ask(timeout_s)))
        await asyncio.sleep(0.02)
    return Counter(await asyncio.gather(*calls))


@pytest.mark.parametrize("kind", [Captioner, Generator])
async def test_load_spreads_and_neither_a_killed_nor_a_hung_replica_is_noticed(kind: type[Peer]) -> None:
    with ExitStack() as stack:
        one, other, third = (stack.enter_context(replica(kind.name)) for _ in range(3))
        async with kind.connect(target(one[1], other[1], third[1])) as peer:
            ask = asking(peer)
            # Answers do not wait for the others to be connected.
            await ask_often(ask, 10)
            spread = await ask_often(ask, 60)
            one[0].send_signal(signal.SIGKILL)
            after_kill = await ask_often(ask, 60)
            other[0].send_signal(signal.SIGSTOP)
            after_hang = await ask_often(ask, 60)
            settled = await asyncio.wait_for(ask_often(ask, 60), 2 * PATIENT_S)
            other[0].send_signal(signal.SIGCONT)

    assert all(count >= 15 for count in spread.values())
    assert len(spread) == 3
    assert str(one[0].pid) not in after_kill
    assert sum(after_kill.values()) == sum(after_hang.values()) == 60
    assert settled == {str(third[0].pid): 60}


async def test_a_replica_too_slow_for_its_callers_is_left_alone() -> None:
    with replica("captioner", 0.01) as (quick, quick_port), replica("captioner", 5) as (_, slow_port):
        async with Captioner.connect(target(quick_port, slow_port)) as captioner:
            answered: list[str] = []
            for _ in range(400):
                try:
                    answered.append((await captioner.read(b"photo", Subject.PRODUCT, 0.5)).model)
                except BackdropError as error:
                    answered.append(error.reason)
                if answered[-20:] == [str(quick.pid)] * 20:
                    break
                await asyncio.sleep(0.02)
    assert set(answered) == {str(quick.pid), "CAPTIONER_TIMEOUT"}
    assert answered[-20:] == [str(quick.pid)] * 20


async def test_callers_mistakes_take_no_replica_away() -> None:
    with replica("captioner") as (_, one), replica("captioner") as (_, other):
        async with Captioner.connect(target(one, other)) as captioner:
            answered: list[str] = []
            # One photo in seven is good; seven is odd, so that each replica is given some.
            for number in range(700):
                if number % 7:
                    with pytest.raises(InvalidArgument):
                        await captioner.read(b"not a photo", Subject.PRODUCT, PATIENT_S)
                else:
                    answered.append((await captioner.read(b"photo", Subject.PRODUCT, PATIENT_S)).model)
                await asyncio.sleep(0.01)
    # Those of the time in which the mistakes before count.
    assert sorted(Counter(answered[-30:]).values()) == [15, 15]
