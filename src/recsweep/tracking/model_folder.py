"""The folder of a logged model, in the format that MLflow documents for its models.

`mlflow.pyfunc.save_model` writes the same, which a test holds. Besides it imports pandas, looks
through the files of every installed package for one that the requirements don't fit, and answers
the example, of which it tells nobody the error.
"""

import json
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

DESCRIPTION = "MLmodel"
"""Name of the file that says what MLflow finds in the folder."""

SAVED = Path("artifacts", "model")
"""Where the saved files lie in the folder, which the entry file finds as its artifact `model`."""


def describe_model(
    folder: Path,
    *,
    run_id: str,
    entry: Path,
    signature: Mapping[str, Any],
    input_example: Any,
    requirements: Sequence[str],
) -> None:
    """Make of a folder with saved files one that MLflow loads by the code of the entry file."""
    (folder / entry.name).write_bytes(entry.read_bytes())
    (folder / "input_example.json").write_text(json.dumps(input_example), encoding="utf-8")
    served = json.dumps({"inputs": input_example}, indent=2)
    (folder / "serving_input_example.json").write_text(served, encoding="utf-8")
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    python = platform.python_version()
    flavor = {
        "artifacts": {"model": {"path": SAVED.as_posix(), "uri": str(folder / SAVED)}},
        "cloudpickle_version": version("cloudpickle"),
        "code": None,
        "env": {"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
        "loader_module": "mlflow.pyfunc.loaders.code_model",
        "model_code_path": str(entry),
        "python_version": python,
        "streamable": False,
    }
    description = {
        "flavors": {"python_function": flavor},
        "is_signature_from_type_hint": True,
        "mlflow_version": version("mlflow"),
        "model_id": None,
        "model_size_bytes": size,
        "model_uuid": None,
        "prompts": None,
        "run_id": run_id,
        "saved_input_example_info": {
            "artifact_path": "input_example.json",
            "serving_input_path": "serving_input_example.json",
            "type": "json_object",
        },
        "signature": {
            **{side: json.dumps(schema) for side, schema in signature.items()},
            "params": None,
        },
        "type_hint_from_example": False,
        "utc_time_created": str(datetime.now(UTC).replace(tzinfo=None)),
    }
    _write(folder / DESCRIPTION, description)
    (folder / "requirements.txt").write_text("\n".join(requirements), encoding="utf-8")
    conda = [f"python={python}", _pinned("pip", "<="), {"pip": list(requirements)}]
    _write(
        folder / "conda.yaml",
        {"channels": ["conda-forge"], "dependencies": conda, "name": "mlflow-env"},
    )
    build = [_pinned(package, "==") for package in ("pip", "setuptools", "wheel")]
    _write(
        folder / "python_env.yaml",
        {"python": python, "build_dependencies": build, "dependencies": ["-r requirements.txt"]},
    )


def place_model(folder: Path, model_id: str, location: str) -> None:
    """Let a folder's description name the logged model that it is now, and where that lies."""
    description = yaml.safe_load((folder / DESCRIPTION).read_text(encoding="utf-8"))
    names = {"artifact_path": location, "model_id": model_id, "model_uuid": model_id}
    _write(folder / DESCRIPTION, {**description, **names})


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(yaml.safe_dump(dict(content)), encoding="utf-8")


def _pinned(package: str, relation: str) -> str:
    try:
        return f"{package}{relation}{version(package)}"
    except PackageNotFoundError:
        return package
