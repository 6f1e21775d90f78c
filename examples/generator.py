"""WriteCaptions: sentences and scenes from features, by the language model."""

import grpc
from addresses import GENERATOR

from backdrop.generator.v1 import generator_pb2 as pb
from backdrop.generator.v1 import generator_pb2_grpc

with grpc.insecure_channel(GENERATOR) as channel:
    stub = generator_pb2_grpc.GeneratorServiceStub(channel)
    request = pb.WriteCaptionsRequest(
        features=[
            pb.Feature(category="object_type", labels=["coffee mug"]),
            pb.Feature(category="color", labels=["blue"]),
        ],
        subject=pb.SUBJECT_PRODUCT,
        candidate_count=2,
    )
    response = stub.WriteCaptions(request, timeout=30)
    for candidate in response.candidates:
        print(f"{candidate.caption} -> {candidate.scene}")
    print(response.model, response.usage.completion_tokens, "tokens", "(cached)" if response.cached else "")
