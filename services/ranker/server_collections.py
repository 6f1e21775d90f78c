"""The versions of an index on a Qdrant server or cluster: a collection each, and an alias for the one in use."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

import httpx
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from services.ranker import payload
from services.ranker.server_errors import wrapped_errors
from services.ranker.server_store import ServerStore
from services.ranker.vector_store import StoreDamaged, VectorSpace

_CODES = models.TurboQuantization(
    turbo=models.TurboQuantQuantizationConfig(bits=models.TurboQuantBitSize.BITS2, always_ram=True)
)
"""Those of the embedded store (`edge_engine`)."""


@asynccontextmanager
async def connect_server(
    url: str,
    api_key: str,
    collection: str,
    *,
    timeout_s: int = 5,
    shards: int = 0,
    quantized: bool = False,
    transport: httpx.AsyncBaseTransport | None = None,
) -> AsyncIterator["ServerCollections"]:
    """Connects to a Qdrant server.

    Args:
        url: the server's REST address.
        api_key: empty when it asks for none.
        collection: the alias of the collection in use.
        timeout_s: that one request may take.
        shards: of collections that are made; 0 for the server's own number.
        quantized: in collections that are made, keep 2 bits of each number in memory and the vectors on the disk.
        transport: what carries the requests, instead of the network.
    """
    client = AsyncQdrantClient(
        url=url, api_key=api_key or None, timeout=timeout_s, check_compatibility=False, transport=transport
    )
    try:
        yield ServerCollections(client, collection, shards, quantized)
    finally:
        await client.close()


@asynccontextmanager
async def connect_server_store(
    url: str, api_key: str, collection: str, space: VectorSpace, **settings: Any
) -> AsyncIterator["ServerStore"]:
    """Connects to the collection in use of a Qdrant server, or makes it; `settings` are those of `connect_server`.

    Raises:
        StoreUnreachable: the server does not answer.
        StoreRefused: it does not accept the key.
        StoreDamaged: the collection was not made by a ranker.
        EmbeddingModelChanged: it holds vectors of another model.
    """
    async with connect_server(url, api_key, collection, **settings) as collections:
        stored = await collections.space_in_use() or space
        space.require(stored, collections.name, collections.setting)
        async with collections.open_space(space) as store:
            await collections.use(store)
            yield store


class ServerCollections:
    """The versions of an index on a Qdrant server: collections `name-1`, `name-2`; the alias `name` is the one in use.

    Attributes:
        name: of the index, in words.
        setting: the environment variable that names another one.
    """

    def __init__(self, client: AsyncQdrantClient, alias: str, shards: int, quantized: bool) -> None:
        self.name = f"Collection {alias}"
        self.setting = "BACKDROP_RANKER_QDRANT_COLLECTION"
        self._client = client
        self._alias = alias
        self._shards = shards
        self._quantized = quantized

    async def space_in_use(self) -> VectorSpace | None:
        """The space of the collection in use; None where there is none yet.

        Raises:
            StoreDamaged: a collection has the alias's name.
        """
        with wrapped_errors():
            current = await self._current()
            if current is None and await self._client.collection_exists(self._alias):
                raise StoreDamaged(
                    f"{self._alias} is a collection, but the ranker keeps its own under an alias: name another with"
                    " BACKDROP_RANKER_QDRANT_COLLECTION."
                )
            return None if current is None else await self._space_of(current)

    @asynccontextmanager
    async def open_space(self, space: VectorSpace) -> AsyncIterator["ServerStore"]:
        """Opens the collection of that space: the one in use, if it is, the latest, or a new one."""
        with wrapped_errors():
            collection = await self._collection_of(space)
            if not await self._client.collection_exists(collection):
                await self._create(collection, space)
            # Adding an index that is there changes nothing, so a ranker that died between the two is made good.
            await self._index(collection)
        yield ServerStore(self._client, collection)

    async def use(self, store: "ServerStore") -> None:
        """Makes a collection the one in use, at once for all who ask for the alias."""
        create = models.CreateAlias(collection_name=store.collection, alias_name=self._alias)
        actions: list[Any] = [models.CreateAliasOperation(create_alias=create)]
        with wrapped_errors():
            if await self._current() is not None:
                delete = models.DeleteAlias(alias_name=self._alias)
                actions.insert(0, models.DeleteAliasOperation(delete_alias=delete))
            await self._client.update_collection_aliases(actions)

    async def clean(self) -> None:
        """Deletes all collections but the one in use, and the latest of another space to go back to."""
        with wrapped_errors():
            current = await self._current()
            others = [each for each in await self._collections() if each != current]
            for collection in others[:-1]:
                await self._client.delete_collection(collection)

    async def _current(self) -> str | None:
        aliases = (await self._client.get_aliases()).aliases
        return next((each.collection_name for each in aliases if each.alias_name == self._alias), None)

    async def _collections(self) -> list[str]:
        """All versions, in their order."""
        names = [each.name for each in (await self._client.get_collections()).collections]
        numbers = sorted(int(match[1]) for name in names if (match := self._pattern.fullmatch(name)))
        return [f"{self._alias}-{number}" for number in numbers]

    async def _collection_of(self, space: VectorSpace) -> str:
        collections = await self._collections()
        of_space = [each for each in collections if await self._space_of(each) == space]
        current = await self._current()
        if current in of_space:
            return current
        numbers = [int(each.rpartition("-")[2]) for each in collections]
        return of_space[-1] if of_space else f"{self._alias}-{max(numbers, default=0) + 1}"

    async def _space_of(self, collection: str) -> VectorSpace:
        config = (await self._client.get_collection(collection)).config
        try:
            return VectorSpace(**(config.metadata or {}))
        except TypeError as error:
            raise StoreDamaged(
                f"Collection {collection} was not made by a ranker, or its server is older than Qdrant 1.16."
                " Name another one with BACKDROP_RANKER_QDRANT_COLLECTION."
            ) from error

    @property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile(rf"{re.escape(self._alias)}-(\d+)")

    async def _create(self, collection: str, space: VectorSpace) -> None:
        dense = models.VectorParams(
            size=space.layout.dimension,
            distance=models.Distance.DOT,
            datatype=models.Datatype.FLOAT16,
            quantization_config=_CODES if self._quantized else None,
            on_disk=self._quantized or None,
        )
        sparse = models.SparseVectorParams(modifier=models.Modifier.IDF)
        try:
            await self._client.create_collection(
                collection,
                vectors_config={payload.DENSE_NAME: dense},
                sparse_vectors_config={payload.SPARSE_NAME: sparse},
                shard_number=self._shards or None,
                # A graph for each library and none over all of them, since no search reads two.
                hnsw_config=models.HnswConfigDiff(m=0, payload_m=16),
                metadata=asdict(space),
            )
        except UnexpectedResponse as error:
            # Another ranker that starts at the same time was faster.
            if error.status_code != httpx.codes.CONFLICT:
                raise

    async def _index(self, collection: str) -> None:
        tenant = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True)
        await self._client.create_payload_index(collection, payload.LIBRARY_FIELD, tenant)
        for field in (payload.TAGS_FIELD, payload.KEYS_FIELD):
            await self._client.create_payload_index(collection, field, models.PayloadSchemaType.KEYWORD)
        for field in (*payload.NUMBER_FIELDS, payload.EXPIRE_FIELD):
            await self._client.create_payload_index(collection, field, models.PayloadSchemaType.FLOAT)
