"""Runs as the store remembers them, and the tags by which they are known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
        metrics: The latest value of each metric.
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

    @property
    def split_settings(self) -> dict[str, str]:
        """The rule of its split without the seed: splits of one rule differ by chance alone. Of a
        test part that is given each seed stands for itself: no other one tells of its chance."""
        return {
            name: value
            for name, value in sorted(self.params.items())
            if name.startswith("split.") and (name != "split.seed" or self._test_is_given)
        }

    @property
    def split_seed(self) -> int | None:
        """The seed of its split; None where the rule draws no test part."""
        seed = self.params.get("split.seed", "None")
        return None if seed == "None" or self._test_is_given else int(seed)

    @property
    def _test_is_given(self) -> bool:
        return self.params.get("split._target_", "").endswith(".Given")

    @property
    def is_random(self) -> bool:
        """Whether another seed makes another model of it; a run from before this was tagged is
        taken for random where it is a net's."""
        return self.tags.get("random", str(self.role == "net").lower()) == "true"


def grouped(records: Sequence[RunRecord]) -> dict[tuple[str, str, str], list[RunRecord]]:
    """Runs that compare: by data digest, split digest and what lists are chosen from."""
    groups: dict[tuple[str, str, str], list[RunRecord]] = {}
    for record in records:
        groups.setdefault(record.comparable, []).append(record)
    return groups
