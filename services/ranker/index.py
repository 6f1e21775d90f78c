"""The index that requests go to: one version of it, until another takes its place, while requests go on."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, Self, TypeVar
from uuid import uuid4

from aiorwlock import RWLock

from services.ranker import feedback as feedbacks
from services.ranker.background import BackgroundName
from services.ranker.feedback import Feedback, IndexedFeedback
from services.ranker.text_embedding import TextEmbedder
from services.ranker.vector_store import Indexed, IndexedBackground, Name, VectorSpace, VectorStore

FEW = 100
"""Items that are moved while writes wait."""

Store = TypeVar("Store", bound=VectorStore)
Convert = Callable[[Sequence[Indexed]], Awaitable[Sequence[Indexed]]]


@dataclass(eq=False)
class Version(Generic[Store]):
    """What is kept, in one vector space: the model that embeds texts, and the store that keeps the vectors."""

    embedder: TextEmbedder
    space: VectorSpace
    store: Store
    _closing: AsyncExitStack
    _in_use: RWLock = field(default_factory=RWLock)

    @classmethod
    async def open(cls, embedder: TextEmbedder, space: VectorSpace, store: AbstractAsyncContextManager[Store]) -> Self:
        """Opens the store; `close` closes it, and leaves the embedder to whoever made it."""
        async with AsyncExitStack() as closing:
            opened = await closing.enter_async_context(store)
            return cls(embedder, space, opened, closing.pop_all())
        raise AssertionError("no store swallows an exception")

    @asynccontextmanager
    async def in_use(self) -> AsyncIterator[Self]:
        """Keeps the version open inside the `async with`."""
        async with self._in_use.reader_lock:
            yield self

    async def index_feedback(self, feedback: Feedback) -> IndexedFeedback:
        """Feedback with what it teaches by the vectors of this version, to be stored.

        Raises:
            LibraryNotFound: the library has none of the backgrounds that were shown.
        """
        names = [BackgroundName(feedback.library, each) for each in feedback.shown.backgrounds]
        found = await self.store.read(names)
        vectors = {each.name.background: each.vector for each in found if isinstance(each, IndexedBackground)}
        return feedbacks.indexed(feedback, vectors, self.space.layout)

    async def close(self) -> None:
        """Closes the store once nobody uses it."""
        async with self._in_use.writer_lock:
            await self._closing.aclose()


class Home(Protocol):
    """Where versions are kept, one for each vector space; one is in use.

    Attributes:
        name: of the place, in words.
        setting: the environment variable that names another one.
    """

    name: str
    setting: str

    async def space_in_use(self) -> VectorSpace | None:
        """The space of the version in use; None where there is none yet."""
        ...

    def open_space(self, space: VectorSpace) -> AbstractAsyncContextManager[Any]:
        """Opens the store of the version of that space, the one in use if it is, or makes one."""
        ...

    async def use(self, store: Any) -> None:
        """Makes the version of that store the one in use from now on."""
        ...

    async def clean(self) -> None:
        """Removes all versions but the one in use, and the latest of another space to go back to."""
        ...


class Index(Generic[Store]):
    """Gives each request the version in use, and can replace it.

    Reads are never held up. Writes are, for as long as it takes to begin a replacement and to end it; what is written
    in between is moved to the new version before that takes over.

    Attributes:
        replacing: held by who replaces the version in use, from choosing another to cleaning up: one at a time.
    """

    def __init__(self, version: Version[Store]) -> None:
        self.replacing = asyncio.Lock()
        self._version = version
        self._writing = RWLock()
        self._written: set[Name] | None = None
        self._origin = uuid4().hex
        self._revisions: Counter[str] = Counter()

    @property
    def version(self) -> Version[Store]:
        """The version in use, for what needs no store that stays open."""
        return self._version

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Version[Store]]:
        """The version to read from inside the `async with`."""
        async with self._version.in_use() as version:
            yield version

    @asynccontextmanager
    async def writing(self, names: Collection[Name]) -> AsyncIterator[Version[Store]]:
        """The version to write what has those names to, inside the `async with`."""
        async with self._writing.reader_lock:
            if self._written is not None:
                self._written.update(names)
            async with self.reading() as version:
                try:
                    yield version
                # What failed may have been written in part.
                finally:
                    self._revisions.update({name.library for name in names})

    @asynccontextmanager
    async def held(self) -> AsyncIterator[Version[Store]]:
        """The version in use, to which nothing is written inside the `async with`."""
        async with self._writing.writer_lock, self.reading() as version:
            yield version

    def etag(self, library: str) -> str:
        """Another one after each write to the library, after each start, with each model and each older content."""
        return f"{self._origin}-{self._version.space.model}-{self._revisions[library]}"

    async def replace(
        self,
        begin: Callable[[], Awaitable[None]],
        open_version: Callable[[], Awaitable[Version[Store]]],
        convert: Convert,
        use: Callable[[Store], Awaitable[None]],
        *,
        same_content: bool = True,
    ) -> None:
        """Puts another version in the place of the one in use, for whoever holds `replacing`.

        Args:
            begin: awaited while nothing is written.
            open_version: opens the new version, with all that there was at the beginning.
            convert: gives items the vectors that they have in the new version; feedback after its backgrounds.
            use: makes the new version the one in use when the ranker starts.
            same_content: the new version holds what the one in use does; else all etags change.
        """
        async with self._writing.writer_lock:
            await begin()
            self._written = set()
        try:
            new = await open_version()
            try:
                while len(self._written) > FEW:
                    await self._move_written(new, convert)
                async with self._writing.writer_lock:
                    await self._move_written(new, convert)
                    await use(new.store)
                    old, self._version = self._version, new
                    if not same_content:
                        self._origin = uuid4().hex
            except BaseException:
                await new.close()
                raise
        finally:
            self._written = None
        await old.close()

    async def check(self) -> None:
        """Raises when the store cannot be used now."""
        await self._version.store.check()

    async def aclose(self) -> None:
        """Closes the version in use."""
        await self._version.close()

    async def _move_written(self, new: Version[Store], convert: Convert) -> None:
        """Makes what was written meanwhile what it is in the version in use."""
        names, self._written = list(self._written or ()), set()
        found = await self._version.store.read(names)
        backgrounds = [each for each in found if isinstance(each, IndexedBackground)]
        others = [each for each in found if not isinstance(each, IndexedBackground)]
        for items in (backgrounds, others):
            if items:
                await new.store.upsert(await convert(items))
        if gone := set(names) - {each.name for each in found}:
            await new.store.delete(list(gone))


async def as_they_are(indexed: Sequence[Indexed]) -> Sequence[Indexed]:
    """The `convert` of a replacement in the same vector space."""
    return indexed
