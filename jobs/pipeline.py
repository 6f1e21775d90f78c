"""The job as a stream of Ray Data: pages of names, then pictures, then outcomes; no stage runs far ahead."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, DataContext, Datasource, ReadTask
from ray.data.block import BlockMetadata

from gateway.cli.manifest import Metadata
from jobs.pictures import PAGE, find_pictures
from jobs.workers import Fetch, Index, Plan, Row, rows_of, to_page

_LIGHT = 0.1
"""Of a CPU: tasks that mostly wait for a disk or a network."""


@dataclass(frozen=True, slots=True)
class Workers:
    """How many actors hold a model, and what each may use."""

    count: int
    cpus: float
    gpus: float


class Pictures(Datasource):
    """The pictures of a source, listed by one task while the others work."""

    def __init__(self, plan: Plan, parent: str, metadata: Mapping[str, Metadata]) -> None:
        self._list = partial(_list_rows, plan, parent, metadata)

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: DataContext | None = None
    ) -> list[ReadTask]:
        """One task, since a listing has one beginning; its blocks go on as they come."""
        unknown = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
        return [ReadTask(self._list, unknown)]

    def estimate_inmemory_data_size(self) -> int | None:
        """Nobody knows."""
        return None


def run(plan: Plan, parent: str, metadata: Mapping[str, Metadata], workers: Workers) -> Iterator[Row]:
    """The outcome of each picture, as it comes.

    Args:
        plan: what the workers have to know.
        parent: the library, `libraries/{library}`.
        metadata: what is known of pictures, by file name.
        workers: that hold a model.
    """
    context = DataContext.get_current()
    context.enable_progress_bars = False
    # Each page is a block of its own, which is passed on at once, not kept until it is large.
    context.target_min_block_size = 1
    context.target_max_block_size = 1
    pages = ray.data.read_datasource(Pictures(plan, parent, metadata), override_num_blocks=1, num_cpus=_LIGHT)
    fetched = pages.map_batches(
        Fetch(plan).__call__,
        batch_size=None,
        batch_format="pyarrow",
        num_cpus=_LIGHT,
        concurrency=2 * workers.count + 1,
    )
    # Two batches of the model, since a photo waits for the store as well.
    at_once = 1 + max(1, 2 * plan.captioner.max_batch // PAGE)
    done = fetched.map_batches(
        Index,
        fn_constructor_args=(plan,),
        batch_size=None,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(
            size=workers.count,
            max_tasks_in_flight_per_actor=at_once + 1,
            max_concurrent_calls_per_actor=at_once,
            enable_true_multi_threading=True,
        ),
        num_cpus=workers.cpus,
        num_gpus=workers.gpus or None,
    )
    for page in done.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        yield from rows_of(page)


def _list_rows(plan: Plan, parent: str, metadata: Mapping[str, Metadata]) -> Iterator[pa.Table]:
    for page in find_pictures(plan.source, parent, metadata, force=plan.force):
        rows = [
            {"file": each.file, "request": each.request}
            | ({"outcome": "failed", "reason": "NOT_IMPORTABLE", "message": each.error} if each.error else {})
            for each in page
        ]
        if rows:
            yield to_page(rows)
