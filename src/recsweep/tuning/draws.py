"""What a search trains: each setting of its space once, and no more than there are."""

import hashlib
import itertools
import json
import random
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from recsweep.config import effective_config
from recsweep.errors import ConfigError
from recsweep.tuning.claims import NewTrial
from recsweep.tuning.compose import Composer
from recsweep.tuning.repeats import option_of, point_and_repeat
from recsweep.tuning.space import Dimension, Scalar, belonging
from recsweep.tuning.study import Claim, Definition, Study
from recsweep.tuning.trial import build_pruner, build_sampler

if TYPE_CHECKING:
    from optuna.trial import Trial

TRIES = 10
"""How often the sampler draws again what has been tried, before chance draws in its place."""

SMALL = 10_000
"""Number of settings up to which those that are left are looked for one by one."""

SHOWN_VALUES = 3
"""Number of a setting's values that tell whether it means anything to a model."""

Params = Mapping[str, Scalar]


class Draws:
    """The draws of a search.

    Args:
        study: The study that keeps them.
        composer: What composes a trial's config.
        dimensions: The settings that are varied.
        definition: The definition of the study, whose sampler draws.
        option: The option of the group `definition.each` that they are of; None for all.
    """

    def __init__(
        self,
        study: Study,
        composer: Composer,
        dimensions: Sequence[Dimension],
        definition: Definition,
        option: Scalar = None,
    ) -> None:
        self._study = study
        self._composer = composer
        self._definition = definition
        self._only = None if option is None else (str(definition.each), option)
        chosen = [] if option is None else [f"{definition.each}={option}"]
        self._dimensions = belonging(dimensions, chosen)
        groups = composer.groups
        self._groups = [dimension for dimension in self._dimensions if dimension in groups]
        self._has_adopted = False
        self._sizes: dict[int, int | None] = {}

    def planned(self, n_trials: int) -> int:
        """The number of points that are to be tried: n_trials, or as many as there are."""
        if self.size_within(n_trials) is None:
            return n_trials
        self._adopt()
        tried = self._study.draws()
        digests = {draw["settings"] for draw in tried.values()}
        points = {trial.point for trial in self._study.record().trials} | set(tried)
        if self._only is not None:
            points = {point for point in points if option_of(point) == self._only[1]}
        untried = [params for params in self._all() if self._digest(params) not in digests]
        return min(n_trials, len(points) + len(untried))

    def size_within(self, limit: int) -> int | None:
        """The number of settings that differ in what is trained; None where there are more than the
        limit, or no end of them.

        A setting that means nothing to a model makes no other of it, and neither does a group.
        """
        if limit not in self._sizes:
            self._sizes[limit] = self._size_within(limit)
        return self._sizes[limit]

    def _size_within(self, limit: int) -> int | None:
        total = 0
        for _, varied in self._parts():
            size = _size(varied)
            if size is None or total + size > limit:
                return None
            total += size
        return total

    def _parts(self) -> Iterator[tuple[dict[str, Scalar], list[Dimension]]]:
        """The parts of the space: for each choice of groups that differs from the others its
        params, with the first value of what is varied below, and what means something there."""
        seen: set[tuple[str, ...]] = set()
        choices = [[(group, value) for value in self._options(group)] for group in self._groups]
        for chosen in itertools.product(*choices):
            groups = [group.override(value) for group, value in chosen]
            params = {group.recorded: value for group, value in chosen}
            below = [each for each in self._dimensions if self._applies(each, groups)]
            params |= {dimension.recorded: _first(dimension) for dimension in below}
            digest = self._digest(params)
            varied = [
                dimension
                for dimension in below
                if any(
                    self._digest({**params, dimension.recorded: value}) != digest
                    for value in _others(dimension)
                )
            ]
            key = (digest, *(dimension.recorded for dimension in varied))
            if key not in seen:
                seen.add(key)
                yield params, varied

    def _options(self, group: Dimension) -> Sequence[Scalar]:
        """The options of a group that are drawn from."""
        if self._only is not None and group.name == self._only[0]:
            return [self._only[1]]
        return group.values

    def _all(self) -> Iterator[dict[str, Scalar]]:
        """Every setting of a space that has an end."""
        for params, varied in self._parts():
            names = [dimension.recorded for dimension in varied]
            for values in itertools.product(*map(_values, varied)):
                yield params | dict(zip(names, values, strict=True))

    def draw(self, claim: Claim) -> list[str]:
        """The overrides of a claimed trial, stored with it: what its point drew before, else what
        no other point has."""
        point = point_and_repeat(claim.slot)[0]
        # what nobody has claimed before has drawn nothing, unless it is one of several repeats
        is_first = claim.attempt == 0 and self._definition.repeats is None
        kept = {} if is_first else self._study.draws(point).get(point, {})
        # an attempt after one that an earlier version drew keeps nothing
        if params := kept.get("params") or claim.params:
            new = self._taking(claim, params)
            self._study.give_params(claim, new)
            return list(new.notes["overrides"])
        return self._fresh(claim, point)

    def _taking(self, claim: Claim, params: Params) -> NewTrial:
        """What a trial has that takes these params; those that it lacks it draws by chance."""
        import optuna

        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(self._study.seed))
        study.enqueue_trial(dict(params))
        trial = study.ask()
        _, overrides = self._drawn(trial)
        repeat = point_and_repeat(claim.slot)[1]
        if repeat and self._definition.repeats is not None:
            overrides.append(self._definition.repeats.override(int(repeat)))
        return NewTrial({"overrides": overrides}, trial.params, trial.distributions)

    def _fresh(self, claim: Claim, point: str) -> list[str]:
        """The overrides of a draw that no other point has; it is kept as this one's."""
        self._adopt()
        for params in self._candidates(claim, point):
            new, digest = self._taking(claim, params), self._digest(params)
            kept = self._study.keep_draw(point, params, digest, claim, new)
            if kept is None:
                continue
            if kept["params"] != params:  # another repeat of the point was first
                new = self._taking(claim, kept["params"])
                self._study.give_params(claim, new)
            return list(new.notes["overrides"])
        # others took the last of them at this moment
        raise ConfigError("All settings of the space are tried. Give it more values.")

    def _candidates(self, claim: Claim, point: str) -> Iterator[Params]:
        from optuna.samplers import RandomSampler

        settings, pruner = self._definition.sampler, build_pruner(self._definition.pruner)
        for number in itertools.count():
            if number == TRIES and self.size_within(SMALL) is not None:
                break
            seed = zlib.crc32(f"{self._study.seed}/{point}{f'/{number}' * (number > 0)}".encode())
            sampler = build_sampler(settings, seed) if number < TRIES else RandomSampler(seed)
            trial = self._study.drawing(claim, sampler, pruner, self._only)
            with self._study.storage.guard():
                params, _ = self._drawn(trial)
            yield params
        rest = list(self._all())
        random.Random(zlib.crc32(f"{self._study.seed}/{point}".encode())).shuffle(rest)
        yield from rest

    def _drawn(self, trial: "Trial") -> tuple[dict[str, Scalar], list[str]]:
        """What a trial draws, and the overrides of it.

        What is drawn for a group decides which other settings there are to draw.
        """
        params = {group.recorded: group.draw(trial) for group in self._groups}
        overrides = [group.override(params[group.recorded]) for group in self._groups]
        for dimension in self._dimensions:
            if self._applies(dimension, overrides[: len(self._groups)]):
                params[dimension.recorded] = value = dimension.draw(trial)
                overrides.append(dimension.override(value))
        return params, overrides

    def _applies(self, dimension: Dimension, groups: Sequence[str]) -> bool:
        """Whether a setting that is no group means something to the options of groups."""
        if dimension in self._groups:
            return False
        override = dimension.override(_first(dimension))
        return bool(self._composer.applying([*groups, override])[len(groups) :])

    def _digest(self, params: Params) -> str:
        """What is trained with these params, as a name: 5 and 5.0 are one value."""
        groups = [group.override(params[group.recorded]) for group in self._groups]
        others = [
            dimension.override(params[dimension.recorded])
            for dimension in self._dimensions
            if dimension not in self._groups and dimension.recorded in params
        ]
        config = effective_config(self._composer.compose([*groups, *others]))
        content = json.dumps(_canonical(config), sort_keys=True, default=str)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def _adopt(self) -> None:
        """Keep the draws of trials that an earlier version drew."""
        if self._has_adopted:
            return
        self._has_adopted, known = True, self._study.draws()
        for trial in self._study.record().trials:
            if trial.point not in known and trial.params:
                # the space may have been another one
                with suppress(ConfigError, KeyError, ValueError):
                    self._study.keep_draw(trial.point, trial.params, self._digest(trial.params))


def _canonical(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {str(name): _canonical(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [_canonical(value) for value in content]
    is_whole = isinstance(content, float) and content.is_integer()
    return int(content) if is_whole else content


def _values(dimension: Dimension) -> Sequence[Scalar]:
    """All values of a dimension that has an end."""
    if dimension.options:
        return dimension.values
    assert dimension.low is not None, "it is an interval"
    assert dimension.high is not None
    return range(int(dimension.low), int(dimension.high) + 1)


def _first(dimension: Dimension) -> Scalar:
    return dimension.values[0] if dimension.values else dimension.low


def _others(dimension: Dimension) -> Sequence[Scalar]:
    """Some values besides the first."""
    return dimension.values[1 : SHOWN_VALUES + 1] if dimension.values else (dimension.high,)


def _size(varied: Sequence[Dimension]) -> int | None:
    """Number of combinations; None where there is no end."""
    size = 1
    for dimension in varied:
        if not dimension.options and not dimension.whole:
            return None
        size *= len(_values(dimension))
    return size
