"""A certificate expires under load: who is connected stays so; others are let in as soon as there is a new one."""

import asyncio
import datetime
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import trustme

from backdrop.client import AsyncClient, BackdropError, background
from tests.servers.gateway import running_gateway
from tests.servers.peers import Peers

LIFE_S, EXPIRED_S, EVERY_S = 4.0, 3.0, 0.1


@dataclass
class Expiry:
    """What clients saw.

    Attributes:
        kept_errors: reasons of the calls on a connection from before.
        new_errors: reasons of the calls on new connections while the certificate was expired.
        refused: of those, how many; and `admitted`, how many were let in all the same.
        healthy_s: from the new file to the first call on a new connection that went well.
    """

    kept_calls: int = 0
    kept_errors: list[str] = field(default_factory=list)
    new_errors: set[str] = field(default_factory=set)
    refused: int = 0
    admitted: int = 0
    healthy_s: float = 0.0


async def expire(folder: Path) -> Expiry:
    """A gateway whose certificate lives for some seconds, under load, and then gets a new one."""
    folder.mkdir(exist_ok=True)
    ca, seen, peers = trustme.CA(), Expiry(), Peers()
    files = {kind: folder / f"{kind}.pem" for kind in ("cert", "key", "ca")}
    ca.cert_pem.write_to_path(files["ca"])
    _issue(ca, files, LIFE_S)
    expires = time.monotonic() + LIFE_S
    await peers.start()
    served = running_gateway(peers, folder, ca=files["ca"], tls_cert_file=files["cert"], tls_key_file=files["key"])
    async with served as gateway, _client(gateway.port, ca) as kept:
        async for outcome in kept.import_backgrounds(iter([background("shop", "oak", b"picture")])):
            assert not outcome.HasField("error"), outcome.error
        loading = asyncio.create_task(_load(kept, seen))
        await asyncio.sleep(expires + 1 - time.monotonic())
        while time.monotonic() < expires + 1 + EXPIRED_S:
            reason = await _try_anew(gateway.port, ca)
            seen.refused, seen.admitted = seen.refused + bool(reason), seen.admitted + (not reason)
            seen.new_errors |= {reason} - {""}
        _issue(ca, files, 3600)
        renewed = time.monotonic()
        while await _try_anew(gateway.port, ca):
            pass
        seen.healthy_s = time.monotonic() - renewed
        loading.cancel()
        await asyncio.wait([loading])
    await peers.stop_all()
    return seen


async def _load(client: AsyncClient, seen: Expiry) -> None:
    while True:
        reason = await _reason(lambda: client.recommend("shop", b"photo", timeout_s=2))
        seen.kept_calls += 1
        seen.kept_errors += [reason] if reason else []
        await asyncio.sleep(EVERY_S)


async def _try_anew(port: int, ca: trustme.CA) -> str:
    async with _client(port, ca) as client:
        return await _reason(lambda: client.recommend("shop", b"photo", timeout_s=2))


async def _reason(call: Callable[[], Awaitable[object]]) -> str:
    try:
        await call()
    except BackdropError as error:
        return f"{error.code.name} {error.reason}"
    return ""


def _client(port: int, ca: trustme.CA) -> AsyncClient:
    # The name keeps gRPC from sharing one connection among clients.
    return AsyncClient(f"localhost:{port}", tls=True, root_certificates=ca.cert_pem.bytes())


def _issue(ca: trustme.CA, files: dict[str, Path], life_s: float) -> None:
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=life_s)
    made = ca.issue_cert("localhost", not_after=until)
    files["cert"].write_bytes(b"".join(each.bytes() for each in made.cert_chain_pems))
    made.private_key_pem.write_to_path(files["key"])
