"""Secrets in URIs are replaced, and what is no secret stays."""

import pytest

from recsweep.errors import TrackingError
from recsweep.masking import mask


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("postgresql://anna:s3cret@db/runs", "postgresql://anna:***@db/runs"),
        ("postgresql+psycopg://anna:s3/cr@et@db/runs", "postgresql+psycopg://anna:***@db/runs"),
        ("mysql://anna:s3'cret@db", "mysql://anna:***@db"),
        ("http://:s3cret@host", "http://:***@host"),
        ("https://s3cret@host/path", "https://***@host/path"),
        ("https://host/?access_token=s3cret&page=2", "https://host/?access_token=***&page=2"),
        (
            "https://host/?page=2&X-Amz-Signature=s3cret&x=1",
            "https://host/?page=2&X-Amz-Signature=***&x=1",
        ),
        ("https://host/#id_token=s3cret", "https://host/#id_token=***"),
        (
            "sqlite:///file:a.db?uri=true&Password=s3cret",
            "sqlite:///file:a.db?uri=true&Password=***",
        ),
        (
            "not 'http://a:s3cret@h' and 'http://b:s3cret@i'",
            "not 'http://a:***@h' and 'http://b:***@i'",
        ),
        ("uri: http://a:s3cret@h\nseed: 0", "uri: http://a:***@h\nseed: 0"),
    ],
)
def test_a_secret_is_replaced(text, masked):
    assert mask(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:////home/anna/mlruns/mlflow.db",
        "http://127.0.0.1:5000/health",
        "file:///a/b@c",
        "recipe_net 15/25/128 mse adam",
        "https://host/?page=2&design=new",
        "ratio 1:2 by a@b.org",
    ],
)
def test_what_is_no_secret_stays(text):
    assert mask(text) == text


def test_an_error_shows_no_secret():
    assert (
        str(TrackingError("no store at http://anna:s3cret@host"))
        == "no store at http://anna:***@host"
    )
