"""Saved models: a folder with `model.json` (settings) and `arrays.safetensors` (numbers). Nothing in it is executed."""

import json
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from recsweep import __version__
from recsweep.errors import SavedModelError

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

FORMAT_VERSION = 2
SETTINGS_FILE = "model.json"
ARRAYS_FILE = "arrays.safetensors"


@runtime_checkable
class Restorable(Protocol):
    """A class of models that can be saved and loaded."""

    @classmethod
    def restore(cls, settings: dict[str, Any], arrays: dict[str, np.ndarray]) -> Any:
        """The model that was saved with these settings and arrays."""


def save_model(folder: Path, kind: type, settings: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Write a model that `load_model` reads back by `kind.restore(settings, arrays)`.

    Args:
        folder: Made where it does not exist; what it held of an earlier model is overwritten.
        kind: The model's class.
        settings: What JSON can hold.
        arrays: Numbers by name.
    """
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / ARRAYS_FILE)
    header = {
        "format_version": FORMAT_VERSION,
        "recsweep": __version__,
        "kind": f"{kind.__module__}.{kind.__qualname__}",
        "settings": settings,
    }
    (folder / SETTINGS_FILE).write_text(json.dumps(header, indent=2) + "\n", encoding="utf-8")


def load_model(folder: Path) -> Any:
    """The model that `folder` holds.

    Only classes of `recsweep.models` are built: a saved model can't name code of somebody else's.

    Raises:
        SavedModelError: A file is missing, truncated or foreign, or a newer recsweep wrote it.
    """
    header = _read_header(folder)
    version = header.get("format_version")
    if version != FORMAT_VERSION:
        raise SavedModelError(
            f"The model in {folder} has format_version {version!r}, and this recsweep {__version__} reads "
            f"{FORMAT_VERSION}. Recsweep {header.get('recsweep', 'of an unknown version')} wrote it: install that one."
        )
    kind = _kind(folder, header.get("kind"))
    arrays = _read_arrays(folder)
    try:
        return kind.restore(header["settings"], arrays)
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise SavedModelError(f"The model in {folder} is not whole: {error}. Save or log it again.") from error


def saved_kind(folder: Path) -> type:
    """The class of the model that `folder` holds. SavedModelError where there is no such model or class."""
    return _kind(folder, _read_header(folder).get("kind"))


def sparse_arrays(name: str, matrix: "csr_matrix") -> dict[str, np.ndarray]:
    """A csr matrix as arrays to save, which `sparse_matrix` puts together again."""
    return {f"{name}_{part}": getattr(matrix, part) for part in ("data", "indices", "indptr")}


def sparse_matrix(name: str, arrays: dict[str, np.ndarray], shape: tuple[int, int]) -> "csr_matrix":
    """The csr matrix that `sparse_arrays` took apart. ValueError where its indices don't fit the shape."""
    from scipy.sparse import csr_matrix

    matrix = csr_matrix(tuple(arrays[f"{name}_{part}"] for part in ("data", "indices", "indptr")), shape)
    matrix.check_format(full_check=True)
    return matrix


def _read_header(folder: Path) -> dict[str, Any]:
    path = folder / SETTINGS_FILE
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = error.strerror or error
        raise SavedModelError(f"No saved model in {folder}: {SETTINGS_FILE} can't be read ({reason}).") from error
    except ValueError as error:
        raise SavedModelError(f"{path} is truncated or not a recsweep model: {error}.") from error
    if not isinstance(header, dict) or "format_version" not in header:
        raise SavedModelError(f"{path} is not a recsweep model: it names no format_version.")
    return header


def _read_arrays(folder: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = folder / ARRAYS_FILE
    try:
        return load_file(path)
    except OSError as error:
        raise SavedModelError(f"The model in {folder} is not whole: {ARRAYS_FILE} can't be read ({error}).") from error
    except SafetensorError as error:
        raise SavedModelError(f"{path} is truncated or foreign ({error}). Save or log the model again.") from error


def _kind(folder: Path, name: object) -> type:
    module, _, qualname = str(name).rpartition(".")
    try:
        if module.startswith("recsweep.models."):
            kind = getattr(import_module(module), qualname)
            if isinstance(kind, type) and issubclass(kind, Restorable):
                return kind
    except (ImportError, AttributeError):
        pass
    raise SavedModelError(f"The model in {folder} is of the kind {name!r}, which this recsweep {__version__} lacks.")
