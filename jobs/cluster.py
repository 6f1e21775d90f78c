"""Ray: started on this machine for the time of a job, or a cluster that runs already."""

import logging
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager

# Read when ray is imported: it is to report its use to nobody.
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import ray

from chassis.errors import FailedPrecondition
from jobs.pipeline import Workers

STORE_BYTES = 512 * 1024 * 1024
"""Shared memory for pictures under way, on one machine."""


class ClusterUnusable(FailedPrecondition):
    """There is no such cluster, or it is too small."""

    reason = "CLUSTER_UNUSABLE"


@contextmanager
def joined(address: str | None, workers: Workers) -> Iterator[None]:
    """Ray for the time of the `with`: the cluster at `address`, or one of this process's own.

    Raises:
        ClusterUnusable: nothing answers there, or it lacks the CPUs or GPUs that the workers need.
    """
    level = logging.ERROR
    if address is None:
        # CPUs are what Ray counts, not what it holds anyone to; on a small machine the light tasks need one to start.
        ray.init(
            num_cpus=math.ceil(workers.count * workers.cpus) + 1,
            object_store_memory=STORE_BYTES,
            include_dashboard=False,
            logging_level=level,
            log_to_driver=False,
        )
    else:
        try:
            ray.init(address=address, logging_level=level, log_to_driver=False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ClusterUnusable(f"No Ray cluster answers at {address}: {error}") from error
    logging.getLogger("ray.data").setLevel(level)
    try:
        _require_room(workers)
        yield
    finally:
        ray.shutdown()


def _require_room(workers: Workers) -> None:
    there: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    for name, needed in (("CPU", workers.count * workers.cpus + 0.2), ("GPU", workers.count * workers.gpus)):
        if there.get(name, 0) < needed:
            raise ClusterUnusable(
                f"The workers need {needed:g} {name}s, and Ray has {there.get(name, 0):g}: take fewer --workers,"
                f" or fewer {name}s for each."
            )
