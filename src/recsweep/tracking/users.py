"""The users of an MLflow server that asks for passwords, by its own interface."""

from typing import TYPE_CHECKING, Any

from recsweep.databases import CONNECT_SECONDS
from recsweep.errors import TrackingError
from recsweep.tracking.access import ask_health, guard

if TYPE_CHECKING:
    from requests import Response

PATH = "/api/2.0/mlflow/users"


def is_up(uri: str) -> bool:
    """Whether a server answers."""
    import requests

    try:
        ask_health(uri, CONNECT_SECONDS)
    except requests.RequestException:
        return False
    return True


def set_user(uri: str, name: str, password: str) -> bool:
    """Add a user, or give one that exists another password; whether they are new.

    Raises:
        TrackingError: The server does not let us, or does not take the password.
    """
    user = {"username": name, "password": password}
    answer = _ask(uri, "create", "POST", user)
    if is_new := answer.status_code == 200:
        return is_new
    if "RESOURCE_ALREADY_EXISTS" in answer.text:
        answer = _ask(uri, "update-password", "PATCH", user)
    _check(answer, name)
    return False


def remove_user(uri: str, name: str) -> None:
    """Take a user off.

    Raises:
        TrackingError: The server does not let us, or there is none of the name.
    """
    _check(_ask(uri, "delete", "DELETE", {"username": name}), name)


def _ask(uri: str, what: str, method: str, body: dict[str, Any]) -> "Response":
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    with guard(uri):
        ask_health(uri, CONNECT_SECONDS)
        answer = http_request(
            get_default_host_creds(uri),
            f"{PATH}/{what}",
            method,
            json=body,
            max_retries=0,
            raise_on_status=False,
        )
        if answer.status_code in (401, 403):
            answer.raise_for_status()
    return answer


def _check(answer: "Response", name: str) -> None:
    if answer.status_code == 404 and "json" not in answer.headers.get("content-type", ""):
        raise TrackingError("The server asks for no passwords, and has no users.")
    if answer.status_code != 200:
        said = answer.json().get("message", answer.text) if answer.text[:1] == "{" else answer.text
        raise TrackingError(f"The server does not take the user {name!r}: {said.strip()}")
