"""The real generator on a free port, and what its tests ask it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import grpc
import pytest
from prometheus_client import REGISTRY

from backdrop.generator.v1 import generator_pb2 as pb
from backdrop.generator.v1 import generator_pb2_grpc
from chassis import errors, server
from services.generator.__main__ import open_application
from services.generator.config import GeneratorConfig

# The class is in the type stubs only.
Generator: TypeAlias = "generator_pb2_grpc.GeneratorServiceAsyncStub"

MUG = pb.Feature(category="object_type", labels=["coffee mug"])


@asynccontextmanager
async def serving(**settings: Any) -> AsyncIterator[Generator]:
    async with channel_to(**settings) as channel:
        yield generator_pb2_grpc.GeneratorServiceStub(channel)


@asynccontextmanager
async def channel_to(**settings: Any) -> AsyncIterator[grpc.aio.Channel]:
    config = GeneratorConfig(**{"port": 0, "timeout_s": 1, "health_interval_s": 0.1, **settings})
    async with (
        open_application(config) as application,
        server.start(config, application) as running,
        grpc.aio.insecure_channel(f"127.0.0.1:{running.port}") as channel,
    ):
        yield channel


def request(*features: pb.Feature, count: int = 1, **fields: Any) -> pb.WriteCaptionsRequest:
    fields.setdefault("subject", pb.SUBJECT_PRODUCT)
    return pb.WriteCaptionsRequest(features=features or [MUG], candidate_count=count, **fields)


def about(label: str) -> pb.WriteCaptionsRequest:
    """A request that differs from those about other labels."""
    return request(pb.Feature(category="object_type", labels=[label]))


async def failure(call: Any) -> tuple[grpc.StatusCode, str, float | None]:
    """Code, reason and retry delay in seconds of a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    status = errors.status_of(caught.value)
    return caught.value.code(), errors.reason_of(status), errors.retry_after_s_of(status)


def metric(name: str, **labels: str) -> float:
    """The value of a metric of this process; 0 where it was never touched."""
    return REGISTRY.get_sample_value(name, labels) or 0
