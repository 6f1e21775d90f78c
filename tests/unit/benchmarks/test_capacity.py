import itertools
import random
from dataclasses import replace

import pytest

from benchmarks.capacity import cache_hits
from benchmarks.capacity.cache_hits import Demand
from benchmarks.capacity.captioner_queue import Captioner, arrivals, least_request, round_robin, simulate
from benchmarks.capacity.load_curve import Fit
from benchmarks.capacity.plan import Choices, Figures, Load, Prices, plan

CAPTIONER = Captioner(cores=2, decode_ms=6, after_ms=4, batch_ms=2, item_ms=5)
LOAD = Load(rps=100, backgrounds=50e6, caption_hit=0.5)


@pytest.fixture(scope="module")
def figures() -> Figures:
    return Figures.read()


def answers_of(captioner: Captioner, per_s: float, seconds: float = 30) -> list[float]:
    chance = random.Random(0)
    (replica,) = simulate([captioner], arrivals(per_s, seconds, chance), round_robin(1, chance))
    return replica.latencies_s


def test_a_lone_photo_takes_its_own_work_alone() -> None:
    (replica,) = simulate([CAPTIONER], iter([1.0]), round_robin(1, random.Random(0)))

    # The model has two cores: 2 ms for the batch and 5 for each of two views.
    assert replica.latencies_s == [pytest.approx((6 + (2 + 2 * 5) / 2 + 4) / 1000)]


def test_a_batch_takes_what_waits_and_no_more_than_it_may() -> None:
    captioner = replace(CAPTIONER, max_pending=1000)
    (replica,) = simulate([captioner], itertools.repeat(0.0, 100), round_robin(1, random.Random(0)))

    assert max(replica.batches) == 16
    assert sum(replica.batches) == 200
    assert len(replica.latencies_s) == 100


def test_what_is_over_the_limit_is_refused_and_the_rest_is_answered_at_capacity() -> None:
    chance = random.Random(0)
    times = arrivals(2 * CAPTIONER.capacity_per_s, 30, chance)
    (replica,) = simulate([CAPTIONER], times, round_robin(1, chance))

    assert replica.refused > 0
    assert len(replica.latencies_s) / 30 == pytest.approx(CAPTIONER.capacity_per_s, rel=0.05)


def test_more_load_takes_longer() -> None:
    slow, fast = (sorted(answers_of(CAPTIONER, share * CAPTIONER.capacity_per_s)) for share in (0.9, 0.3))

    assert slow[len(slow) // 2] > fast[len(fast) // 2]


def test_a_slow_replica_gets_less_from_least_request() -> None:
    replicas = [*[CAPTIONER] * 3, CAPTIONER.slower(3)]
    per_s = 2 * CAPTIONER.capacity_per_s
    counts = []
    for choose in (round_robin, lambda _, chance: least_request(chance)):
        chance = random.Random(0)
        done = simulate(replicas, arrivals(per_s, 20, chance), choose(1, chance))
        counts.append(len(done[-1].latencies_s) + done[-1].refused)

    assert counts[1] < 0.8 * counts[0]


def test_a_fit_gives_back_what_it_was_fitted_to() -> None:
    fit = Fit(2, 97, 7, 79, 1, 12.5, 143.75, 0, 12.8, 16)
    captioner = Captioner.fitted(fit)

    assert captioner.capacity_per_s == pytest.approx(12.8)
    assert (captioner.batch_ms + captioner.item_ms) / 2 == pytest.approx(79)


def test_replicas_with_caches_of_their_own_find_less() -> None:
    demand = Demand(things=500, exponent=1.0, per_s=10)
    one, eight = (cache_hits.simulate(demand, 500, replicas=each, ttl_s=60, requests=8000).found for each in (1, 8))

    assert one > eight > 0


def test_what_is_being_made_is_waited_for() -> None:
    hits = cache_hits.simulate(Demand(10, 1.0, per_s=10), 10, ttl_s=5, takes_s=1, requests=2000)

    assert hits.joined > 0
    assert hits.found + hits.joined < 1


def test_ten_times_the_load_needs_ten_times_the_busy_cores(figures: Figures) -> None:
    small, large = (plan(replace(LOAD, rps=rps), Choices(), figures) for rps in (1000, 10_000))

    for before, after in zip(small.parts[:4], large.parts[:4], strict=True):
        assert after.cores == pytest.approx(10 * before.cores, rel=0.1)


def test_every_service_has_a_second_replica(figures: Figures) -> None:
    assert all(part.replicas >= 2 for part in plan(replace(LOAD, rps=0.1), Choices(), figures).parts)


def test_quantisation_needs_fewer_shards(figures: Figures) -> None:
    quantised, whole = (plan(LOAD, Choices(quantised=each), figures).parts[-1] for each in (True, False))

    assert quantised.replicas < whole.replicas


def test_answers_from_memory_cost_no_tokens(figures: Figures) -> None:
    prices = Prices(prompt_tokens=1, completion_tokens=4)
    asked, remembered = (plan(replace(LOAD, answer_hit=each), Choices(), figures) for each in (0, 1))

    assert asked.tokens_monthly(prices, busy=1) > 0
    assert remembered.tokens_monthly(prices, busy=1) == 0


def test_a_gpu_takes_the_model_off_the_cores(figures: Figures) -> None:
    busy = replace(LOAD, rps=10_000)
    on_cores, on_gpus = (plan(busy, Choices(views_per_gpu_s=each), figures).parts[1] for each in (None, 10_000))

    assert on_gpus.gpus > 0
    assert on_gpus.cores < on_cores.cores
