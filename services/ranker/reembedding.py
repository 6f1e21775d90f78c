"""Another sentence-embedding model for an index that stays in use.

Captions are kept beside the vectors, so the new model reads them again, into a version of its own. Requests are
answered by the old model and its version until the new one holds everything. The old version is left as it is then:
whoever sets the old model again gets it back, and only what was written since is read again. What feedback teaches is
worked out anew from the new vectors. Rules know nothing of models.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import structlog

from services.ranker.background import LibraryNotFound
from services.ranker.feedback import IndexedFeedback
from services.ranker.index import Home, Index, Version
from services.ranker.rules import IndexedRules
from services.ranker.text_embedding import TextEmbedder
from services.ranker.vector_store import Indexed, IndexedBackground, IndexedPage, Name, VectorSpace

log = structlog.get_logger(__name__)

PAGE = 100
PROGRESS_EVERY_S = 10.0


async def reembed(index: Index[Any], embedder: TextEmbedder, space: VectorSpace, home: Home) -> None:
    """Moves the index to another model.

    Args:
        index: is in use meanwhile, and in `space` at the end.
        embedder: of the new model.
        space: of the new vectors; of the same image-text model as the old ones.
        home: of the index's versions.
    """
    async with index.replacing:
        log.info("reembedding", model=space.model, instead_of=index.version.space.model)
        await _replace(index, embedder, space, home)
        await home.clean()
    log.info("reembedded", model=space.model)


async def _replace(index: Index[Any], embedder: TextEmbedder, space: VectorSpace, home: Home) -> None:
    old = index.version
    async with AsyncExitStack() as stack:
        new = await Version.open(embedder, space, home.open_space(space))
        # Until the index owns it.
        stack.push_async_callback(new.close)

        async def begin() -> None:
            pass

        async def caught_up() -> Version[Any]:
            await _catch_up(old, new)
            stack.pop_all()
            return new

        await index.replace(begin, caught_up, partial(_reembedded, new=new), home.use)


async def _catch_up(old: Version[Any], new: Version[Any]) -> None:
    """Gives the new version all that the old one has, and nothing else."""
    started = asyncio.get_running_loop().time()
    done = 0
    feedback: list[Name] = []
    async for page in _pages(old):
        feedback += [each.name for each in page if isinstance(each, IndexedFeedback)]
        await _write_changed([each for each in page if not isinstance(each, IndexedFeedback)], new)
        done += len(page)
        if (now := asyncio.get_running_loop().time()) > started + PROGRESS_EVERY_S:
            log.info("reembedding_progress", backgrounds=done)
            started = now
    for start in range(0, len(feedback), PAGE):
        await _write_changed(await old.store.read(feedback[start : start + PAGE]), new)
    async for page in _pages(new):
        await _forget_deleted(page, old, new)


async def _pages(version: Version[Any]) -> AsyncIterator[Sequence[Indexed]]:
    next_point = None
    while True:
        page: IndexedPage = await version.store.export_page(None, PAGE, next_point)
        yield page.indexed
        next_point = page.next_point
        if next_point is None:
            return


async def _write_changed(indexed: Sequence[Indexed], new: Version[Any]) -> None:
    there = await new.store.read([each.name for each in indexed])
    times = {each.name: each.update_time for each in there}
    changed = [each for each in indexed if times.get(each.name) != each.update_time]
    converted = await _reembedded(changed, new)
    if converted:
        await new.store.upsert(converted)


async def _forget_deleted(indexed: Sequence[Indexed], old: Version[Any], new: Version[Any]) -> None:
    names = {each.name for each in indexed}
    left = {each.name for each in await old.store.read(list(names))}
    if gone := names - left:
        await new.store.delete(list(gone))


async def _reembedded(indexed: Sequence[Indexed], new: Version[Any]) -> list[Indexed]:
    """The same items with the new model's vectors of captions; what was read of the pictures stays."""
    backgrounds = [each for each in indexed if isinstance(each, IndexedBackground)]
    done: list[Indexed] = list(await _read_again(backgrounds, new))
    for each in indexed:
        if isinstance(each, IndexedRules):
            done.append(replace(each, vector=new.space.layout.vector({})))
        if isinstance(each, IndexedFeedback):
            # Where none of its backgrounds is left, it teaches nothing.
            with suppress(LibraryNotFound):
                done.append(await new.index_feedback(each.feedback))
    return done


async def _read_again(indexed: Sequence[IndexedBackground], new: Version[Any]) -> list[IndexedBackground]:
    if not indexed:
        return []
    captions = iter(await new.embedder.embed([text for each in indexed for text in each.background.captions]))
    done = []
    for each in indexed:
        text = np.mean([next(captions) for _ in each.background.captions], axis=0)
        done.append(IndexedBackground(each.background, new.space.layout.with_text(text, each.vector)))
    return done
