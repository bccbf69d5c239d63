"""Secrets are replaced wherever they stand, and what is no secret stays."""

import pytest

from recsweep.config import conf_dir, flat, plain
from recsweep.errors import TrackingError
from recsweep.masking import mask, mask_value, says_secret
from recsweep.promotion.reruns import node_of
from tests.secret_forms import FORMS, HARMLESS, SECRET, SHAPED


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


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_form_of_a_secret(form):
    masked = mask(form.format(SECRET))
    assert SECRET not in masked
    assert "***" in masked
    assert mask(masked) == masked


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_form_within_a_message(form):
    said = f"error: The source {form.format(SECRET)!r} can't be read."
    assert SECRET not in mask(said)
    assert mask(said).startswith("error: The source ")


@pytest.mark.parametrize("secret", SHAPED.values(), ids=SHAPED)
def test_a_secret_that_shows_what_it_is(secret):
    assert mask(f"tags.note={secret} and more") == "tags.note=*** and more"


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_secret_stays(text):
    assert mask(text) == text


def test_what_follows_stays_readable():
    said = mask("The store http://h/?token=s3cret can't be used: timed out. Choose another one.")
    assert said == "The store http://h/?token=*** can't be used: timed out. Choose another one."


def test_what_the_environment_says_is_secret(monkeypatch):
    monkeypatch.setenv("RUNS_DB_PASSWORD", "horse-battery-9")
    assert mask("failed: horse-battery-9!") == "failed: ***!"
    assert mask("horse-battery-99") == "horse-battery-99"
    monkeypatch.setenv("RUNS_DB_PASSWORD", "popularity")
    assert mask("popularity") == "popularity", "a word that means something else too"
    monkeypatch.setenv("PWD", "/home/anna1")
    assert mask("/home/anna1/mlruns") == "/home/anna1/mlruns"


class TestNames:
    @pytest.mark.parametrize(
        "name",
        """
        password db_password DB_PASSWORD tags.dbPassword passphrase pwd secret client_secret
        secret_of_anna token api_token accessToken hf-token key api_key apikey API-Key secretKey
        auth credential credentials
        """.split(),  # noqa: SIM905 - a list would take a line each
    )
    def test_that_say_so(self, name):
        assert says_secret(name)

    @pytest.mark.parametrize(
        "name",
        """
        team author keyboard monkey primary_key public_key tokenizer num_tokens token_column keys
        passed compass passenger_id secretary study_kind data.path
        """.split(),  # noqa: SIM905 - a list would take a line each
    )
    def test_that_do_not(self, name):
        assert not says_secret(name)

    def test_no_setting_of_recsweep_does(self):
        names = {
            name
            for path in conf_dir().rglob("*.yaml")
            for name in flat(plain(node_of(path), resolve=False))
        }
        assert len(names) > 60
        assert not [name for name in names if says_secret(name)]

    def test_all_of_it_is_masked(self):
        settings = {
            "team": "search",
            "api_key": 123456,
            "login": {"password": ["a", "b"], "user": "anna"},
            "uris": ["http://a:s3cret@h", 1],
            "token": None,
        }
        assert mask_value("tags", settings) == {
            "team": "search",
            "api_key": "***",
            "login": {"password": ["***", "***"], "user": "anna"},
            "uris": ["http://a:***@h", 1],
            "token": None,
        }


def test_an_error_shows_no_secret():
    assert (
        str(TrackingError("no store at http://anna:s3cret@host"))
        == "no store at http://anna:***@host"
    )
