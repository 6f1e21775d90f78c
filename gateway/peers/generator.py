"""The generator."""

from collections.abc import Sequence

import grpc

from backdrop.generator.v1 import generator_pb2, generator_pb2_grpc
from chassis.channels import call_metadata
from chassis.circuit import Circuit, Proof
from chassis.errors import BackdropError, Unavailable
from gateway.domain import Draft, Drafts, Feature, Subject, Translation
from gateway.peers.peer import Peer

CIRCUIT_FAILURES = 3

CIRCUIT_OPEN_S = 5.0

PATIENCE_S = 2.0
"""A generator that did not answer in less has not failed yet: the caller was in a hurry."""


class Generator(Peer):
    """Writes captions with a language model."""

    name = "generator"
    service = generator_pb2.DESCRIPTOR.services_by_name["GeneratorService"].full_name

    def __init__(self, channel: grpc.aio.Channel) -> None:
        super().__init__(channel)
        self._stub = generator_pb2_grpc.GeneratorServiceStub(channel)
        self._circuit = Circuit("generator", CIRCUIT_FAILURES, CIRCUIT_OPEN_S, _proof, _left_alone)

    async def write(
        self, features: Sequence[Feature], subject: Subject, count: int, language: str, timeout_s: float
    ) -> Drafts:
        """Up to `count` captions, each with a scene, from the sure features of a photo.

        A generator that is down or hangs is left alone for some seconds, so that not every request waits for it.
        """
        request = generator_pb2.WriteCaptionsRequest(
            features=[generator_pb2.Feature(category=each.category, labels=each.names) for each in features],
            subject=generator_pb2.Subject.Value(f"SUBJECT_{subject.name}"),
            candidate_count=count,
            language=language,
        )
        with self._circuit.attempt():
            call = self._stub.WriteCaptions(request, timeout=timeout_s, metadata=call_metadata())
            response = await self._answer(call)
        return Drafts(tuple(_draft(each) for each in response.candidates), response.model, response.language)


def _proof(error: BaseException, took_s: float) -> Proof:
    """What a failed call says of the generator; errors of its own show that it lives."""
    reason = error.reason if isinstance(error, BackdropError) else ""
    if reason == "GENERATOR_UNAVAILABLE" or (reason == "GENERATOR_TIMEOUT" and took_s >= PATIENCE_S):
        return Proof.FAILED
    return Proof.ALIVE if reason and reason != "GENERATOR_TIMEOUT" else Proof.NOTHING


def _left_alone(wait_s: float) -> BackdropError:
    error = Unavailable("The generator failed several times in a row and is left alone.", retry_after_s=wait_s)
    error.reason = "GENERATOR_CIRCUIT_OPEN"
    return error


def _draft(candidate: generator_pb2.Candidate) -> Draft:
    written = candidate.translation
    translation = Translation(written.caption, written.scene) if candidate.HasField("translation") else None
    return Draft(
        candidate.caption,
        candidate.scene,
        unsupported=tuple(candidate.unsupported),
        unsuitable=tuple(candidate.unsuitable),
        translation=translation,
    )
