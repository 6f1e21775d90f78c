"""How often a cache has what is asked for, when some things are asked for far more often than others (Zipf)."""

import bisect
import itertools
import random
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Demand:
    """What is asked for.

    Attributes:
        things: that there are: photos for the gateway, sets of features for the generator.
        exponent: of Zipf's law: the n-th most popular is asked for in proportion to n to the power of minus this.
        per_s: requests a second.
        seed: of chance.
    """

    things: int
    exponent: float
    per_s: float
    seed: int = 0

    def draw(self, requests: int) -> Iterator[int]:
        """So many things, one after another."""
        chance = random.Random(self.seed)
        sums = list(itertools.accumulate(each**-self.exponent for each in range(1, self.things + 1)))
        for _ in range(requests):
            yield bisect.bisect_left(sums, chance.random() * sums[-1])


@dataclass(frozen=True)
class Hits:
    """Shares of the requests after the cache had filled.

    Attributes:
        found: remembered.
        joined: still being made for an earlier request, which is waited for.
    """

    found: float
    joined: float


class _Cache:
    """The least recently used is dropped first; what was put in stays `ttl_s` at most."""

    def __init__(self, entries: int, ttl_s: float) -> None:
        self._entries, self._ttl_s = entries, ttl_s
        self._put_s: OrderedDict[int, float] = OrderedDict()

    def age_s(self, thing: int, now_s: float) -> float | None:
        """Since when it is known; None where it is not."""
        put_s = self._put_s.get(thing)
        if put_s is None or now_s - put_s >= self._ttl_s:
            return None
        self._put_s.move_to_end(thing)
        return now_s - put_s

    def put(self, thing: int, now_s: float) -> None:
        """Remembers it."""
        self._put_s[thing] = now_s
        self._put_s.move_to_end(thing)
        if len(self._put_s) > self._entries:
            self._put_s.popitem(last=False)


def simulate(
    demand: Demand, entries: int, *, replicas: int = 1, ttl_s: float = float("inf"), takes_s: float = 0, requests: int
) -> Hits:
    """What part of the requests' second half is found, with a cache of so many entries in each replica.

    Args:
        demand: what is asked for; a request goes to any of the replicas.
        entries: of each cache.
        replicas: that share nothing.
        ttl_s: for how long it is remembered.
        takes_s: what making it takes.
        requests: that are simulated.
    """
    caches = [_Cache(entries, ttl_s) for _ in range(replicas)]
    chance = random.Random(demand.seed + 1)
    found = joined = 0
    for number, thing in enumerate(demand.draw(requests)):
        now_s, cache = number / demand.per_s, chance.choice(caches)
        age_s = cache.age_s(thing, now_s)
        if age_s is None:
            cache.put(thing, now_s)
        elif number >= requests // 2:
            found += age_s >= takes_s
            joined += age_s < takes_s
    counted = requests - requests // 2
    return Hits(found / counted, joined / counted)
