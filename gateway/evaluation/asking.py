"""Asks the recommender about every graded product."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from backdrop.gateway.v1 import gateway_pb2 as pb
from backdrop.gateway.v1 import gateway_pb2_grpc
from gateway.evaluation.judged import SIGNALS, Array, BadLabels, Judged

DEPTH = 100
TIMEOUT_S = 60


def ask(
    stub: gateway_pb2_grpc.GatewayServiceStub, library: str, photos: Path, labels: Mapping[str, Mapping[str, int]]
) -> Iterator[Judged]:
    """What the recommender says of each product, one after another.

    Each is asked twice: as it is set up, which is measured; then by all signals alike, to learn what each of them says
    of the graded backgrounds, of which it knows the first hundred.

    Raises:
        BadLabels: a photo is missing, or none of a product's backgrounds is in the library.
    """
    for product, grades in labels.items():
        path = photos / product
        if not path.is_file():
            raise BadLabels(f"There is no photo {path}; name the folder of the photos with --photos.")
        request = pb.RecommendRequest(parent=f"libraries/{library}", image=path.read_bytes(), limit=DEPTH)
        started = time.perf_counter()
        configured = stub.Recommend(request, timeout=TIMEOUT_S)
        latency_ms = (time.perf_counter() - started) * 1000
        request.weights.extend(
            pb.SignalWeight(signal=pb.Signal.Value(f"SIGNAL_{each.upper()}"), weight=1) for each in SIGNALS
        )
        # What shoppers of this library taught is none of the weights' affair.
        request.weights.append(pb.SignalWeight(signal=pb.SIGNAL_FEEDBACK, weight=0))
        by_all = stub.Recommend(request, timeout=TIMEOUT_S)
        yield Judged(
            product=product,
            backgrounds=tuple(grades),
            grades=np.array(list(grades.values()), dtype=float),
            similarities=_similarities(product, grades, by_all),
            ranking=tuple(_id(each) for each in configured.recommendations),
            latency_ms=latency_ms,
        )


def _similarities(product: str, grades: Mapping[str, int], response: pb.RecommendResponse) -> Array:
    known = {_id(each): _row(each) for each in response.recommendations}
    # A background that looks like another is as fit as that.
    for each in response.recommendations:
        known |= {name.rsplit("/", 1)[1]: _row(each) for name in each.duplicates}
    if not known.keys() & grades.keys():
        raise BadLabels(f"None of the backgrounds that are graded for {product} was found: is this their library?")
    lowest = np.min(list(known.values()), axis=0) - 0.1
    return np.stack([known.get(background, lowest) for background in grades])


def _row(recommendation: pb.Recommendation) -> Array:
    by_signal = {each.signal: each.similarity for each in recommendation.signals}
    return np.array([by_signal.get(pb.Signal.Value(f"SIGNAL_{each.upper()}"), 0.0) for each in SIGNALS])


def _id(recommendation: pb.Recommendation) -> str:
    return recommendation.background.name.rsplit("/", 1)[1]
