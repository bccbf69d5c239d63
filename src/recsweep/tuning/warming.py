"""The server of a study's workers, begun as soon as it is clear that there will be some."""

from collections.abc import Mapping, Sequence

from omegaconf import DictConfig, OmegaConf

from recsweep.config import option
from recsweep.tuning.options import StudyOptions
from recsweep.workers import num_workers, warm_up

WITHOUT_TORCH = tuple(
    f"recsweep.models.{module}."
    for module in ("ease", "ials", "knn", "logistic", "popularity", "rp3beta")
)


def begin_workers(options: StudyOptions, master: DictConfig, arguments: Sequence[str]) -> None:
    """Let the server of the workers begin its imports beside those of this process, where what was
    asked for says that there will be workers; what they are is settled later, when the study is
    open.

    Args:
        options: Of the study.
        master: Hydra's config of the multirun.
        arguments: The overrides of the command line.
    """
    asked = asked_for(options, arguments)
    if _has_workers(options, asked):
        warm_up(nets=trains_nets(master, asked))


def asked_for(options: StudyOptions, arguments: Sequence[str]) -> dict[str, str]:
    """Values as they are asked for, by setting."""
    asked = {str(name): str(values) for name, values in (options.params or {}).items()}
    for argument in arguments:
        name, _, values = argument.partition("=")
        asked[name.lstrip("+~")] = values
    return asked


def _has_workers(options: StudyOptions, asked: dict[str, str]) -> bool:
    if options.n_jobs is not None:
        return options.n_jobs > 1
    is_grid = options.n_trials is None and not any("interval(" in it for it in asked.values())
    prunes = options.pruner.get("kind") not in ("auto", "none")
    several = options.repeats is not None or any(
        "," in values or "(" in values for values in asked.values()
    )
    in_order = prunes or options.max_epochs is not None
    return is_grid and not in_order and several and num_workers(2) > 1


def trains_nets(master: DictConfig, asked: Mapping[str, str]) -> bool:
    """Whether a model may be trained that needs torch; of one that is not known here, it may.

    Args:
        master: Hydra's config of the multirun.
        asked: Values as they are asked for, by setting.
    """
    if "model._target_" in asked:
        return True
    if "model" not in asked:
        target = str(OmegaConf.select(master, "model._target_"))
        return not target.startswith(WITHOUT_TORCH)
    for name in asked["model"].split(","):
        try:
            target = str(option("model", name.strip())["_target_"])
        except (OSError, KeyError):  # an option of the user's own, or a form of several
            return True
        if not target.startswith(WITHOUT_TORCH):
            return True
    return False
