"""Runs as the store remembers them, and the tags by which they are known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from recsweep.config import SAME, digest_of
from recsweep.processes import Worker

TRIAL_TAG = "trial_number"
"""Marks the run of a study's trial."""

OBJECTIVE_TAG = "objective"
"""The logged measure that chose the run's epochs; a run of an earlier version lacks it."""

SAMPLE_TAG = "validation_users"
"""The users of validation on whom the epochs were evaluated, as `Sample.tag` says it; a run without
it evaluated them on all."""

STUDY_TAG = "study_token"
"""Marks the run of a study itself, which has no metrics of a model."""

REFIT_TAG = "promotion_refit"
"""Marks a run that a promotion trained, to compare with: its name stands for it only where no other
run has that."""

ENVIRONMENT_FILE = "environment.json"
"""Artifact of a run: versions of packages, and the state of the git checkout."""

VERSION_TAG = "recsweep_version"
"""The version that made the run; a run of an earlier version lacks it."""

EPOCH_TAGS = ("epochs", "best_epoch", "kept_epoch")
"""Tags of how many epochs were trained, which was the best on validation, and which one's weights
stay. Runs of earlier versions have them as metrics, `fit/epochs` and so on."""

CHOICES = ("data", "split", "model", "loss", "optimizer", "examples", "trainer", "fold_in")
"""Params that name what was chosen of each group, as `model=recipe_net`; its settings stand below
that name, as `model.user_dim`. They are for people: nothing is the same or another one by them."""

FAMILY_SETTINGS = ("by", "scale_by_activity")
"""Settings of a model that make another kind of it, not another size."""

WORKER_TAG = "recsweep.worker"
"""The process that started the run, in JSON; one that opens it again has a tag whose name begins
so."""

SETTLED_TAG = "recsweep.settled"
"""Says of a run that was ended by another command why that was done."""


@dataclass(frozen=True)
class RunRecord:
    """A run as the store remembers it.

    Attributes:
        id: The store's own name for it.
        name: Name that it is shown by; several may share one.
        status: RUNNING, FINISHED, KILLED or FAILED.
        started: Time of its start, in milliseconds since 1970.
        metrics: The latest value of each metric, and what EPOCH_TAGS say, as `fit/epochs`.
        artifacts: URI of its artifacts.
        model_id: Id of the logged model; None where there is none.
        who: The person who started it.
        commit: The git commit that it was started from; None where that is not known.
        deleted: Whether it was deleted, as in the MLflow UI, and can be restored.
    """

    id: str
    name: str
    status: str
    started: int
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    artifacts: str
    model_id: str | None
    who: str = "unknown"
    commit: str | None = None
    deleted: bool = False

    @property
    def version(self) -> str | None:
        """The version of recsweep that made it; None where it was not kept as a tag."""
        return self.tags.get(VERSION_TAG)

    @property
    def abandoned(self) -> bool:
        """Whether every process that writes it has died; False where that can't be told, as of one
        on another machine."""
        workers = [text for tag, text in self.tags.items() if tag.startswith(WORKER_TAG)]
        return bool(workers) and all(Worker.read(text).alive is False for text in workers)

    @property
    def kind(self) -> str:
        """What kind of model it is, as `recipe_net`; empty for a run of no model."""
        return self.tags.get("model_kind", "")

    @property
    def role(self) -> str:
        """`net` or `baseline`; a run from before this was tagged is a net's where it has a loss."""
        return self.tags.get("role", "net" if "loss" in self.tags else "baseline")

    @property
    def label(self) -> str:
        """The model in words, as `knn user 50`: the run's name, of a trial's without its number."""
        name = self.name.partition(" ")[2] if TRIAL_TAG in self.tags else self.name
        return self.tags.get("model_label", name)

    @property
    def loss(self) -> str | None:
        """Name of the loss that the model was trained with; None where none was chosen for it."""
        return self.tags.get("loss")

    @property
    def measured_on(self) -> tuple[str, str, str]:
        """Data, data digest and split digest. The digests decide what compares, not the name."""
        data, data_digest, split_digest = (
            self.tags.get(name, "unknown") for name in ("data", "data_digest", "split_digest")
        )
        return data, data_digest, split_digest

    @property
    def candidates(self) -> str:
        """What its lists were chosen from, as `EvaluationProtocol.tag_of` says; runs from before
        that setting have no tag."""
        return self.tags.get("candidates", "not_liked")

    @property
    def comparable(self) -> tuple[str, str, str]:
        """Data digest, split digest and candidates: runs with the same ones compare."""
        _, data_digest, split_digest = self.measured_on
        return data_digest, split_digest, self.candidates

    @property
    def has_no_validation(self) -> bool:
        """Whether it finished without a validation part."""
        return bool(self.metrics) and not any(
            name.startswith("validation/") for name in self.metrics
        )

    @cached_property
    def _identity(self) -> dict[str, str]:
        """The tags of `identity`; of a run from before there were such, by its params."""
        own = {name: self.tags[name] for name in IDENTITY_TAGS if name in self.tags}
        return (
            own if len(own) == len(IDENTITY_TAGS) else {**identity(self.kind, self.params), **own}
        )

    @property
    def model_digest(self) -> str:
        """Digest of what makes its model the one it is, whatever the seed and the data."""
        return self._identity["model_digest"]

    @property
    def model_family(self) -> str:
        """What tells kinds of models apart, whatever their sizes, as `knn by=item`."""
        return self._identity["model_family"]

    @property
    def rule_digest(self) -> str:
        """Digest of the rule of its split without the seed: splits of one rule differ by chance
        alone. Of a test part that is given each seed stands for itself: no other one tells of its
        chance. Empty where the rule is not known."""
        return self._identity["rule_digest"]

    @property
    def split_seed(self) -> int | None:
        """The seed of its split; None where the rule draws no test part."""
        seed = self._identity["split_seed"]
        return int(seed) if seed else None

    @property
    def final_step(self) -> int:
        """The step of the metrics of its kept weights: 0, which stands for none. Runs of earlier
        versions logged them one step after the last epoch, as they had epochs of the same name."""
        return 0 if "kept_epoch" in self.tags else int(self.metrics.get("fit/epochs", 0)) + 1

    @property
    def is_random(self) -> bool:
        """Whether another seed makes another model of it; a run from before this was tagged is
        taken for random where it is a net's."""
        return self.tags.get("random", str(self.role == "net").lower()) == "true"


IDENTITY_TAGS = ("model_digest", "model_family", "rule_digest", "split_seed")
"""Tags beside the digests of data and split that decide what is the same; params decide nothing."""


def identity(kind: str, params: Mapping[str, str]) -> dict[str, str]:
    """The tags by which a run's model and the rule of its split are known again.

    Args:
        kind: Kind of its model.
        params: Its settings as text, as `model.user_dim` -> `15`.
    """
    model = {
        name: value
        for name, value in params.items()
        if name not in CHOICES and SAME["model"].counts(name)
    }
    given = params.get("split._target_", "").endswith(".Given")
    rule = {
        name: value
        for name, value in params.items()
        if name.startswith("split.") and (name != "split.seed" or given)
    }
    seed = params.get("split.seed", "None")
    family = [
        f"{name}={params[f'model.{name}']}" for name in FAMILY_SETTINGS if f"model.{name}" in params
    ]
    return {
        "model_digest": digest_of(model),
        "model_family": " ".join([kind, *family]),
        "rule_digest": digest_of(rule) if rule else "",
        "split_seed": "" if seed == "None" or given else seed,
    }


def with_epochs(metrics: Mapping[str, float], tags: Mapping[str, str]) -> dict[str, float]:
    """Metrics and, by the names that they had as such, the numbers among the tags."""
    numbers = {
        f"fit/{name}": float(tags[name]) for name in EPOCH_TAGS if tags.get(name, "").isdecimal()
    }
    return {**metrics, **numbers}


def grouped(records: Sequence[RunRecord]) -> dict[tuple[str, str, str], list[RunRecord]]:
    """Runs that compare: by data digest, split digest and what lists are chosen from."""
    groups: dict[tuple[str, str, str], list[RunRecord]] = {}
    for record in records:
        groups.setdefault(record.comparable, []).append(record)
    return groups
