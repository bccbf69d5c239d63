"""The time that two models take to answer one user."""

from time import perf_counter

import numpy as np

from recsweep.errors import RegistryError
from recsweep.serving.service import Query, RecommenderService
from recsweep.tracking import RunRecord, Tracker

TIMED_USERS = 200


def latencies(store: Tracker, first: RunRecord, second: RunRecord) -> tuple[float, float]:
    """Median milliseconds that each run's service takes for the list of one user."""
    return time_in_turns(_service(store, first), _service(store, second))


def _service(store: Tracker, record: RunRecord) -> RecommenderService:
    if record.model_id is None:
        raise RegistryError(
            f"The run {record.id} ({record.name}) has no logged model to measure "
            "its latency by. Leave it out with --guard latency=none."
        )
    with store.saved_model(record.model_id) as folder:
        return RecommenderService.load(folder)


def time_in_turns(first: RecommenderService, second: RecommenderService) -> tuple[float, float]:
    """Median milliseconds of each for one known user and 10 items, in turns, so that a busy
    machine slows both alike."""
    services = (first, second)
    rng = np.random.default_rng(0)
    queries = [
        [
            [Query(user_id=user, k=service.default_k)]
            for user in rng.choice(service.user_ids.ids, TIMED_USERS).tolist()
        ]
        for service in services
    ]
    seconds = np.empty((2, TIMED_USERS))
    for turn in range(-5, TIMED_USERS):  # what comes before 0 warms up, and is overwritten
        for place, service in enumerate(services):
            start = perf_counter()
            service.recommend(queries[place][turn])
            seconds[place, turn] = perf_counter() - start
    ours, theirs = (1000 * np.median(seconds, axis=1)).tolist()
    return ours, theirs
