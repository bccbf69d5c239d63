"""Saved models: a folder with `model.json` (settings) and `arrays.safetensors` (numbers). Nothing
in it is executed."""

import json
import re
from dataclasses import asdict, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

import numpy as np

from recsweep import __version__
from recsweep.errors import SavedModelError
from recsweep.trust import ALLOW_VARIABLE, how_to_allow, is_allowed

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from scipy.sparse import csr_matrix

FORMAT_VERSION = 3
READ_VERSIONS = (2, 3)
SETTINGS_FILE = "model.json"
ARRAYS_FILE = "arrays.safetensors"

UNREADABLE = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What the reader of a model raises where settings and arrays do not go together."""

NAMES_BEFORE_3 = {
    "RecipeNet": "recsweep.models.nets.RecipeNet",
    "mse": "recsweep.losses.MeanSquaredError",
    "bce": "recsweep.losses.BinaryCrossEntropy",
    "neighbor_scores": "recsweep.models.fold_in.NeighborScores",
    "neighbor_vectors": "recsweep.models.fold_in.NeighborVectors",
    "row_map": "recsweep.models.fold_in.RowMap",
    "row_steps": "recsweep.models.fold_in.RowSteps",
}
"""What nets, losses and ways to fold in were called up to format 2: their classes."""


@runtime_checkable
class Restorable(Protocol):
    """A class of models that can be saved and loaded."""

    @classmethod
    def restore(cls, settings: dict[str, Any], arrays: dict[str, np.ndarray]) -> Any:
        """The model that was saved with these settings and arrays."""


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write contiguous arrays into a file for whoever may read its folder: safetensors makes one
    that its owner alone may read, whatever the umask."""
    from safetensors.numpy import save_file

    save_file(arrays, path)
    path.chmod(path.parent.stat().st_mode & 0o666)


def save_model(
    folder: Path, kind: type, settings: dict[str, Any], arrays: dict[str, np.ndarray]
) -> None:
    """Write a model that `load_model` reads back by `kind.restore(settings, arrays)`.

    Args:
        folder: The folder, made where it does not exist; what it held of an earlier model is
            overwritten.
        kind: The model's class.
        settings: Settings that JSON can hold.
        arrays: Numbers by name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    write_arrays(folder / ARRAYS_FILE, contiguous)
    header = {
        "format_version": FORMAT_VERSION,
        "recsweep": __version__,
        "kind": path_of(kind),
        "settings": settings,
    }
    (folder / SETTINGS_FILE).write_text(json.dumps(header, indent=2) + "\n", encoding="utf-8")


def load_model(folder: Path) -> Any:
    """The model that `folder` holds.

    Only classes of `recsweep.models` are built, and those that the environment variable
    RECSWEEP_ALLOW_TARGETS names: a saved model can't name code of somebody else's.

    Raises:
        SavedModelError: A file is missing, truncated or foreign, or a newer recsweep wrote it.
    """
    header = _read_header(folder)
    version = header.get("format_version")
    if version not in READ_VERSIONS:
        raise SavedModelError(
            f"The model in {folder} has format_version {version!r}, and this recsweep "
            f"{__version__} reads {' and '.join(map(str, READ_VERSIONS))}. Recsweep "
            f"{header.get('recsweep', 'of an unknown version')} wrote it: install that one."
        )
    kind = _kind(folder, header.get("kind"))
    arrays = _read_arrays(folder)
    try:
        settings = header["settings"]
        return kind.restore(_since_3(settings) if version < 3 else settings, arrays)
    except UNREADABLE as error:
        reason = str(error) or type(error).__name__
        raise SavedModelError(
            f"The model in {folder} is not whole: {reason}. Save or log it again."
        ) from error


def _since_3(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of format 2 as they are written now: a net's named classes in ways of their own."""
    if "net" not in settings:
        return settings
    loss, fold_in = dict(settings["loss"]), dict(settings["fold_in"])
    return {
        "kind": settings["name"],
        "net": NAMES_BEFORE_3[settings["net"]],
        "net_settings": settings["dims"],
        "num_users": settings["num_users"],
        "num_items": settings["num_items"],
        "loss": {"_target_": NAMES_BEFORE_3[loss.pop("name")], **loss},
        "fold_in": {"_target_": NAMES_BEFORE_3[fold_in.pop("kind")], **fold_in},
    }


def path_of(own: type) -> str:
    """How a saved model names a class of recsweep's, as `recsweep.losses.MeanSquaredError`."""
    return f"{own.__module__}.{own.__qualname__}"


def own_class(path: str) -> type:
    """The class that `path_of` named.

    Raises:
        SavedModelError: It is no model, part of one or loss of recsweep's, nor a class that the
            user's environment allows.
    """
    module, _, name = path.rpartition(".")
    is_own = re.fullmatch(r"recsweep\.(losses|models(\.[a-z]\w*)+)\.[A-Z]\w*", path, re.ASCII)
    if is_own or is_allowed(path):
        try:
            member = getattr(import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            if not is_own:
                raise SavedModelError(
                    f"{path!r}, which {ALLOW_VARIABLE} allows, can't be imported: {error}. Put its "
                    "folder on PYTHONPATH."
                ) from error
        else:
            # a class that a module of ours has imported is not ours
            if isinstance(member, type) and (not is_own or path_of(member) == path):
                return member
    raise SavedModelError(
        f"{path[:200]!r} must be a class in recsweep.models or recsweep.losses, and this "
        f"recsweep {__version__} has none of that name. {how_to_allow(path)}, or install "
        "the version that has it."
    )


def described(part: object) -> dict[str, Any]:
    """A dataclass of recsweep's as settings, which `rebuilt` makes into an equal one."""
    return {"_target_": path_of(type(part)), **asdict(cast("DataclassInstance", part))}


def rebuilt(settings: dict[str, Any]) -> Any:
    """The dataclass that `described` made into these settings."""
    fields = dict(settings)
    part = own_class(str(fields.pop("_target_")))
    if not is_dataclass(part):
        raise SavedModelError(f"{path_of(part)} is no part of a model. Save the model again.")
    return part(**fields)


def saved_kind(folder: Path) -> type[Restorable]:
    """The class of the model that `folder` holds. SavedModelError where there is no such model or
    class."""
    return _kind(folder, _read_header(folder).get("kind"))


def sparse_arrays(name: str, matrix: "csr_matrix") -> dict[str, np.ndarray]:
    """A csr matrix as arrays to save, which `sparse_matrix` puts together again."""
    return {f"{name}_{part}": getattr(matrix, part) for part in ("data", "indices", "indptr")}


def sparse_matrix(name: str, arrays: dict[str, np.ndarray], shape: tuple[int, int]) -> "csr_matrix":
    """The csr matrix that `sparse_arrays` took apart. ValueError where its indices don't fit the
    shape."""
    from scipy.sparse import csr_matrix

    parts = tuple(arrays[f"{name}_{part}"] for part in ("data", "indices", "indptr"))
    matrix = csr_matrix(parts, shape)
    matrix.check_format(full_check=True)
    return matrix


def _read_header(folder: Path) -> dict[str, Any]:
    path = folder / SETTINGS_FILE
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = error.strerror or error
        raise SavedModelError(
            f"No saved model in {folder}: {SETTINGS_FILE} can't be read ({reason})."
        ) from error
    except (ValueError, RecursionError) as error:  # the second at lists in lists in lists
        raise SavedModelError(f"{path} is truncated or not a recsweep model: {error}.") from error
    if not isinstance(header, dict) or "format_version" not in header:
        raise SavedModelError(f"{path} is not a recsweep model: it names no format_version.")
    return header


def _read_arrays(folder: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = folder / ARRAYS_FILE
    try:
        path.open("rb").close()  # safetensors calls one missing that may not be read
        return load_file(path)
    except OSError as error:
        reason = error.strerror or error
        raise SavedModelError(
            f"The model in {folder} is not whole: {ARRAYS_FILE} can't be read ({reason})."
        ) from error
    except SafetensorError as error:
        raise SavedModelError(
            f"{path} is truncated or foreign ({error}). Save or log the model again."
        ) from error


def _kind(folder: Path, name: object) -> type[Restorable]:
    try:
        kind = own_class(str(name))
    except SavedModelError as error:
        raise SavedModelError(
            f"The model in {folder} is of the kind {name!r:.200}, which can't be loaded: {error}"
        ) from error
    if not issubclass(kind, Restorable):
        raise SavedModelError(
            f"The model in {folder} is of the kind {name!r}, which is no kind of models. Log it "
            "again."
        )
    return kind
