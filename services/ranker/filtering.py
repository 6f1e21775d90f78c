"""What the rules of a library and the filters of a request leave, and what is wrong with those that leave nothing."""

from collections.abc import Awaitable, Callable, Iterable, Sequence

from chassis.errors import InvalidArgument
from services.ranker.background import Condition, Filter
from services.ranker.vector_store import VectorStore


async def unknown_keys(store: VectorStore, library: str, conditions: Iterable[Condition]) -> list[str]:
    """The keys of filters that no background of the library has, each once."""
    keys = dict.fromkeys(each.key for each in conditions if isinstance(each, Filter))
    known = await store.attribute_keys(library) if keys else frozenset()
    return [key for key in keys if key not in known]


async def require_known_keys(store: VectorStore, library: str, filters: Sequence[Condition]) -> None:
    """Raises `InvalidArgument` for a misspelt key of a request, which would silently find or exclude nothing."""
    for key in await unknown_keys(store, library, filters):
        number = next(number for number, each in enumerate(filters) if isinstance(each, Filter) and each.key == key)
        keys = ", ".join(sorted(await store.attribute_keys(library))) or "none"
        raise InvalidArgument.of(
            f"filters[{number}].key", f"no background of this library has an attribute {key!r}; it has {keys}"
        )


async def why_empty(
    library: str, rules: Sequence[Condition], leave_something: Callable[[Sequence[Condition]], Awaitable[bool]]
) -> str:
    """Why a request found nothing in a library that holds backgrounds, in a sentence.

    Args:
        library: its id.
        rules: of the library.
        leave_something: says whether conditions alone leave a background that may be shown.
    """
    named = f"libraries/{library}"
    stated = "; ".join(map(str, rules))
    if not await leave_something(()):
        return f"The licences of all backgrounds of {named} have ended."
    if not rules:
        return f"No background of {named} passes the filters of the request."
    if not await leave_something(rules):
        return f"The rules of {named} leave none of its backgrounds: {stated}. Change the rules, or import others."
    return f"No background of {named} passes the filters of the request besides the library's rules: {stated}."
