"""The whole captioner: what clients and health see when the model's process dies."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from backdrop.captioner.v1 import captioner_pb2 as pb
from backdrop.captioner.v1 import captioner_pb2_grpc
from chassis import errors, server
from services.captioner.application import open_application
from services.captioner.config import CaptionerConfig
from services.captioner.servicer import SERVICE_NAME
from tests.unit.services.captioner.fakes import a_photo, encode, load_color_model, model_process

PHOTO = encode(a_photo("red"))
GUARD_S = 60


@pytest.fixture
async def channel(tmp_path: Path) -> AsyncIterator[grpc.aio.Channel]:
    config = CaptionerConfig(port=0, cache_dir=tmp_path, health_interval_s=3600)
    async with (
        open_application(config, load_color_model) as application,
        server.start(config, application) as running,
        grpc.aio.insecure_channel(f"127.0.0.1:{running.port}") as channel,
    ):
        yield channel


def extract(channel: grpc.aio.Channel) -> Any:
    stub = captioner_pb2_grpc.CaptionerServiceStub(channel)
    return stub.ExtractFeatures(pb.ExtractFeaturesRequest(image=PHOTO, taxonomy="background"))


async def status_becomes(channel: grpc.aio.Channel, wanted: str) -> None:
    request = health_pb2.HealthCheckRequest(service=SERVICE_NAME)
    async with asyncio.timeout(GUARD_S):
        async for response in health_pb2_grpc.HealthStub(channel).Watch(request):
            if health_pb2.HealthCheckResponse.ServingStatus.Name(response.status) == wanted:
                return


async def test_when_the_model_dies_health_says_so_and_clients_are_told_to_come_again(channel: grpc.aio.Channel) -> None:
    await status_becomes(channel, "SERVING")
    before = await extract(channel)

    model_process().kill()
    await status_becomes(channel, "NOT_SERVING")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await extract(channel)
    await status_becomes(channel, "SERVING")
    after = await extract(channel)

    status = errors.status_of(caught.value)
    assert (caught.value.code(), errors.reason_of(status)) == (grpc.StatusCode.UNAVAILABLE, "MODEL_RESTARTING")
    assert errors.retry_after_s_of(status)
    assert after.features == before.features
    assert after.embedding == before.embedding
