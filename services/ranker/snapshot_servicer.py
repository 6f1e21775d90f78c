"""The ranker's SnapshotService."""

from typing import TYPE_CHECKING, Any

import grpc

from backdrop.ranker.v1 import snapshots_pb2 as pb
from backdrop.ranker.v1 import snapshots_pb2_grpc
from services.ranker.snapshots import Snapshot, Snapshots, SnapshotsByQdrant

SNAPSHOT_SERVICE_NAME = pb.DESCRIPTOR.services_by_name["SnapshotService"].full_name

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]
else:  # generic in the type stubs only
    Context = grpc.aio.ServicerContext


class SnapshotServicer(snapshots_pb2_grpc.SnapshotServiceServicer):
    """Translates between the contract and `Snapshots`; without any, the store is a Qdrant server's."""

    def __init__(self, snapshots: Snapshots | None) -> None:
        self._given = snapshots

    @property
    def _snapshots(self) -> Snapshots:
        if self._given is None:
            raise SnapshotsByQdrant
        return self._given

    async def CreateSnapshot(self, request: pb.CreateSnapshotRequest, context: Context) -> pb.CreateSnapshotResponse:
        """Copies the store."""
        return pb.CreateSnapshotResponse(snapshot=_from_snapshot(await self._snapshots.create()))

    async def ListSnapshots(self, request: pb.ListSnapshotsRequest, context: Context) -> pb.ListSnapshotsResponse:
        """Tells which copies there are."""
        return pb.ListSnapshotsResponse(snapshots=map(_from_snapshot, await self._snapshots.all()))

    async def DeleteSnapshot(self, request: pb.DeleteSnapshotRequest, context: Context) -> pb.DeleteSnapshotResponse:
        """Removes a copy."""
        await self._snapshots.delete(request.name)
        return pb.DeleteSnapshotResponse()

    async def RestoreSnapshot(self, request: pb.RestoreSnapshotRequest, context: Context) -> pb.RestoreSnapshotResponse:
        """Goes back to a copy."""
        await self._snapshots.restore(request.name)
        return pb.RestoreSnapshotResponse()


def _from_snapshot(snapshot: Snapshot) -> pb.Snapshot:
    message = pb.Snapshot(name=snapshot.name, size_bytes=snapshot.size_bytes)
    if card := snapshot.card:
        message.create_time.FromDatetime(card.create_time)
        message.embedding_model, message.image_model = card.space.model, card.space.image_model
    return message
