"""TLS: clients and services that do not prove who they are hear nothing; new certificates count without a restart."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc
from typer.testing import CliRunner

from backdrop.gateway.v1 import gateway_pb2 as pb
from chassis.config import ServerConfig
from chassis.tls import CertificateFiles, CertificateUnusable, certificate_files, channel_credentials
from gateway.cli.app import app
from tests.servers.gateway import RunningGateway, running_gateway
from tests.servers.peers import Peers

NAMES = ("localhost", "127.0.0.1")
OAK = pb.ImportBackgroundsRequest(name="libraries/shop/backgrounds/oak", image=b"picture")


def issue(ca: trustme.CA, folder: Path, name: str) -> dict[str, Path]:
    """A certificate's files, and the CA's."""
    folder.mkdir(exist_ok=True)
    files = {kind: folder / f"{name}.{kind}.pem" for kind in ("cert", "key", "ca")}
    made = ca.issue_cert(*NAMES)
    files["cert"].write_bytes(b"".join(each.bytes() for each in made.cert_chain_pems))
    made.private_key_pem.write_to_path(files["key"])
    ca.cert_pem.write_to_path(files["ca"])
    return files


@pytest.fixture
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
async def secured(ca: trustme.CA, tmp_path: Path) -> AsyncIterator[tuple[RunningGateway, Peers]]:
    """A gateway that speaks TLS before services that speak mutual TLS."""
    door, service, caller = (issue(ca, tmp_path / "tls", name) for name in ("door", "service", "caller"))
    peers = Peers(tls_cert_file=service["cert"], tls_key_file=service["key"], tls_client_ca_file=service["ca"])
    await peers.start()
    async with running_gateway(
        peers,
        tmp_path,
        ca=door["ca"],
        tls_cert_file=door["cert"],
        tls_key_file=door["key"],
        peers_ca_file=caller["ca"],
        peers_cert_file=caller["cert"],
        peers_key_file=caller["key"],
    ) as gateway:
        yield gateway, peers
    await peers.stop_all()


async def test_all_of_it_works_over_tls(secured: tuple[RunningGateway, Peers]) -> None:
    gateway, _ = secured
    [imported] = [each async for each in gateway.stub.ImportBackgrounds(iter([OAK]))]
    assert imported.outcome == pb.OUTCOME_CREATED
    request = pb.RecommendRequest(parent="libraries/shop", image=b"photo", preview=pb.PreviewOptions())
    assert len((await gateway.stub.Recommend(request)).previews) == 1
    answer = await gateway.http.get("/v1/libraries/shop/backgrounds")
    assert answer.status_code == 200
    assert "max-age" in answer.headers["strict-transport-security"]


async def test_without_tls_the_gateway_tells_nothing(secured: tuple[RunningGateway, Peers]) -> None:
    gateway, _ = secured
    assert not await healthy(f"127.0.0.1:{gateway.port}")
    async with httpx.AsyncClient() as plain:
        with pytest.raises(httpx.HTTPError):
            await plain.get(gateway.url.replace("https", "http"))
    async with httpx.AsyncClient() as distrustful:
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await distrustful.get(gateway.url)


async def test_services_let_in_only_who_has_a_certificate_of_their_ca(
    secured: tuple[RunningGateway, Peers], ca: trustme.CA, tmp_path: Path
) -> None:
    _, peers = secured
    ours, others = issue(ca, tmp_path / "tls", "prober"), issue(trustme.CA(), tmp_path / "tls", "stranger")
    for target in peers.targets.values():
        assert await healthy(target, channel_credentials(ours["ca"], ours["cert"], ours["key"]))
        assert not await healthy(target)
        assert not await healthy(target, channel_credentials(ours["ca"], None, None))
        assert not await healthy(target, channel_credentials(ours["ca"], others["cert"], others["key"]))


async def test_a_new_certificate_counts_without_a_restart(
    secured: tuple[RunningGateway, Peers], ca: trustme.CA, tmp_path: Path
) -> None:
    gateway, _ = secured
    ports = (gateway.port, int(gateway.url.rsplit(":", 1)[1]))
    before = [await serial_of(port) for port in ports]
    files = issue(ca, tmp_path / "tls", "door")
    assert [await serial_of(port) for port in ports] != before
    assert await serial_of(ports[0]) == await serial_of(ports[1])
    files["key"].write_text("half of a ke")
    assert await serial_of(ports[0]) == await serial_of(ports[1])


async def test_the_command_line_trusts_the_ca_that_the_environment_names(
    secured: tuple[RunningGateway, Peers], tmp_path: Path
) -> None:
    gateway, _ = secured
    _ = [each async for each in gateway.stub.ImportBackgrounds(iter([OAK]))]
    arguments = ["backgrounds", "list", "-l", "shop", "--target", f"127.0.0.1:{gateway.port}"]
    environment = {"BACKDROP_CA_FILE": str(tmp_path / "tls" / "door.ca.pem")}
    listed = await asyncio.to_thread(CliRunner().invoke, app, arguments, env=environment)
    assert (listed.exit_code, "oak" in listed.output) == (0, True)
    refused = await asyncio.to_thread(CliRunner().invoke, app, arguments)
    assert "BACKDROP_CA_FILE" in refused.output


def test_files_that_cannot_be_used_are_named(ca: trustme.CA, tmp_path: Path) -> None:
    one, other = issue(ca, tmp_path, "one"), issue(ca, tmp_path, "other")
    for files in (
        CertificateFiles(one["cert"], other["key"]),
        CertificateFiles(tmp_path / "missing.pem", one["key"]),
        CertificateFiles(one["cert"], one["key"], one["key"]),
    ):
        with pytest.raises(CertificateUnusable, match=files.cert.name):
            files.ssl_context()
    with pytest.raises(CertificateUnusable, match="TLS_KEY_FILE"):
        certificate_files(ServerConfig(tls_cert_file=one["cert"]))
    with pytest.raises(CertificateUnusable, match=r"missing\.pem"):
        channel_credentials(tmp_path / "missing.pem", None, None)
    with pytest.raises(CertificateUnusable, match="its key"):
        channel_credentials(one["ca"], one["cert"], None)


async def healthy(target: str, credentials: grpc.ChannelCredentials | None = None) -> bool:
    """A server answers who comes with these credentials."""
    options: list[tuple[str, Any]] = [("grpc.use_local_subchannel_pool", 1)]
    opened = (
        grpc.aio.secure_channel(target, credentials, options)
        if credentials
        else grpc.aio.insecure_channel(target, options)
    )
    async with opened as channel:
        try:
            await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=3)
        except grpc.aio.AioRpcError:
            return False
    return True


async def serial_of(port: int) -> str:
    """The certificate that a server shows."""
    return await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port), timeout=5)
