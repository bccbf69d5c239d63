"""Passwords and tokens must not reach a terminal, a log, a message or a store.

No library fits: of 63 forms of a secret (tests/secret_forms.py) detect-secrets 1.5, the best kept,
finds 8, and with its entropy plugins 57, but then a secret in nearly every harmless text too.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

MASK = "***"
"""What stands in place of a secret."""

_STRONG = r"pass(?:word|wd|wort|phrase|code)s?|(?<![A-Za-z])pwd|secrets?(?-i:(?![a-z]))"
_BEGIN = r"(?-i:(?<![A-Za-z])|(?<=[a-z])(?=[A-Z]))"
# words by themselves, or the last one of a name: token, access_token, accessToken, AUTH
_WEAK = (
    rf"{_BEGIN}(?:token|credentials?|auth|pass|pw|cookie)"
    r"|(?:access|auth|bearer|api|session|refresh|id|security)token"
)
_KEY = (
    r"(?:api|access|secret|private|account|encryption|signing|ssh|shared|shared_?access|master"
    r"|client|auth|service|storage|license|session|user|kaggle|aws)[_\-. ]?(?:access|api)?[_\-]?key"
)
_QUERY = (
    r"[?&#](?!viewStateShareKey=)[\w.\-]{0,60}?"  # which MLflow names a view by
    r"(?:pass(?:word|wd|phrase)?|pwd|secret|sig|signature|key|token|credential)"
)

_NAME = re.compile(
    rf"(?i){_STRONG}"
    rf"|(?:{_WEAK}|{_BEGIN}(?:api|access|secret|private|account)?key)"
    r"(?:[_\-.]?(?:\d+|value|string|text))?$"
)
_HARMLESS_NAME = re.compile(r"(?i)(?:primary|foreign|public|sort)[_\-. ]?key\d*$")

# what may follow a name: a separator, then a value in quotes, in brackets, or up to a space
_AFTER_NAME = r"(?:\\*[\"'\]]){0,2}\s{0,3}(?:=>|[=:]|%3[DdAa])(?!//)\s{0,3}"
_IN_BRACKETS = r"\([^)\n]*\)|\[[^\]\n]*\]|\{[^\n]*?\}(?=[;\"'\s,)]|$)"
_TO_SPACE = r"[^\s;&]*[^\s;&\"'`)\]},.:]"
_TO_SEMICOLON = r"[^\s;&]+(?:[ \t]+[^\s;&=:]+)+(?=;)"
_NOTHING = re.compile(
    r"(?:None|null|true|false|True|False|\\*\"\\*\"|\\*'\\*'|\$[A-Z][A-Z0-9_]*)$"
    r"|\\*[\"']?\*\*\*|\$[({]"  # masked already; what a shell puts there
)


def _quoted(quote: str) -> str:
    """A text in quotes, which may stand in it doubled or behind a backslash."""
    return rf"(?<!\\){quote}(?:[^{quote}\\]|\\+{quote}?|{quote}{quote})*{quote}"


_VALUE = (
    r"(?P<value>"
    + "|".join(
        (
            r"(?P<escaped>\\+[\"'])(?:(?!(?P=escaped))[\s\S])*?(?P=escaped)",
            _quoted('"'),
            _quoted("'"),
            _IN_BRACKETS,
            r"[|>][+-]?(?:(?:\n|\\n)[ \t]+[^\n\\]*)+",  # a block of YAML
            _TO_SEMICOLON,
            _TO_SPACE,
        )
    )
    + ")"
)


def _rest(match: re.Match[str]) -> str:
    """A name and its separator, with the value masked and its quotes kept."""
    value = match["value"]
    if _NOTHING.match(value):
        return match[0]
    quotes = re.match(r"\\*[\"']", value)
    quote = quotes[0] if quotes and value.endswith(quotes[0]) else ""
    return f"{match['before']}{quote}{MASK}{quote}"


_USER_INFO = r"(?P<before>\w:/{1,3}(?P<user>[^/\s:@'\"]{0,200}):)"
_HOST = r"(?=[\w.\-\[]+(?:[:/?#\"'\s,;)\]]|$)|[/?\"'\s]|$)"
_PORT = r"(?!\d{1,5}(?:[/?#\"'\s,;)\]]|\.(?:\s|$)|$))"


def _user_info(match: re.Match[str]) -> str:
    """A URI with its password masked, and its user where that is a token."""
    user, password = match["user"], match["password"]
    is_host = re.search(r"[.\[]|^localhost$", user) or re.search(r"\s", password)
    if is_host and not re.match(_PORT, password):
        return match[0]
    is_token = password in ("", "x", "X", "x-oauth-basic") or bool(
        re.fullmatch(r"(?=\D*\d)[\w\-]{20,}", user)
    )
    start = match["before"][: -len(user) - 1]
    return f"{start}{MASK if is_token and user else user}:{MASK}@"


_Replacement = str | Callable[[re.Match[str]], str]

_NAMES = ("pass", "pwd", "pw", "secret", "token", "credential", "auth", "cookie", "key")

_SHAPES = """
    akia asia ghp_ gho_ ghu_ ghs_ ghr_ github_pat_ glpat- xox sk_ rk_ sk- hf_ aiza dapi npm_ pypi-
    eyj
""".split()  # noqa: SIM905 - a list would take a line each

_PATTERNS: tuple[tuple[Sequence[str], str, _Replacement], ...] = (
    (
        ["private key"],
        r"-----BEGIN[A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END[A-Z ]*PRIVATE KEY-----|\Z)",
        MASK,
    ),
    # the whole of it is a connection string
    (["odbc_connect"], r"(?i)(odbc_connect=)[^&\s'\"]+", rf"\1{MASK}"),
    # scheme://user:password@host, the password with anything but a line break in it
    (["@"], rf"{_USER_INFO}(?P<password>(?:(?!://)[^\n]){{0,400}}?)@{_HOST}", _user_info),
    (["%40"], r"(?i)(%3A%2F%2F[^\s%]{0,200}%3A)[^\s&]{0,400}?(%40)", rf"\1{MASK}\2"),
    # cut off before its host, as by a parser that can't read on
    (
        [":/"],
        rf"(\w:/{{1,2}}(?!/)[^/\s:@'\"]{{0,200}}:){_PORT}(?!\*\*\*)[^\s'\"@/]{{1,400}}+(?![^\s'\"]{{0,400}}@)",
        rf"\1{MASK}",
    ),
    (["@"], r"((?:https?|ftps?|wss?):/{1,3})[^/\s:@'\"]{1,400}@", rf"\1{MASK}@"),
    # user:password@host without a scheme; not image:tag@sha256:digest
    (
        ["@"],
        r"(?<![\w:.\-@%])(?<!//)([A-Za-z_][\w.\-]{0,200}:)(?![\d.]+@)[^\s@/:'\"*,()]{4,200}@(?!sha\d)"
        r"(?=[\w\-]+(?:[.:/(]|$))",
        rf"\1{MASK}@",
    ),
    ([*_NAMES, "sig"], rf"(?i)(?P<before>{_QUERY}(?:=|%3D))(?P<value>[^&;#\s'\"]+)", _rest),
    (
        ["authorization"],
        rf"(?i)((?<![a-z])authorization{_AFTER_NAME}\\*[\"']?(?:[a-z]+ +)?+)"
        r"(?!\$[A-Z_]+\b|\*\*\*)[^\s'\"]+",
        rf"\1{MASK}",
    ),
    (["bearer "], r"(?i)\b(bearer +)(?!token|auth|scheme|\*\*\*)[\w.~+/=\-]+", rf"\1{MASK}"),
    (["basic "], r"\b([Bb]asic +)(?=[A-Za-z0-9+/]+[A-Z0-9=])[A-Za-z0-9+/]{6,}={0,2}", rf"\1{MASK}"),
    # -u user:password, --password x, --api-token x
    (["-u"], r"((?<!\S)(?:-u|--user)[ =][^\s:]+:)[^\s'\"]+", rf"\1{MASK}"),
    (
        ["--"],
        r"(?i)(?P<before>(?<!\S)--[\w\-]{0,60}?(?:password|passwd|passphrase|secret|token|key)"
        r"[ =])(?P<value>\"[^\"]*\"|'[^']*'|(?!-)\S+)",
        _rest,
    ),
    # password: the rest of a line of YAML
    (
        _NAMES,
        rf"(?m)^(?P<before>[ \t\-]*[\w.\-]{{0,60}}?(?i:{_STRONG}|{_KEY}|{_WEAK}):[ \t]+)"
        r"(?P<value>[^\s|>\"'{\[(][^\n]*)",
        _rest,
    ),
    (
        _NAMES,
        rf"(?P<before>(?:(?i:{_STRONG})(?:\d+|[_\-.][\w.\-]{{1,30}}|[A-Z]\w{{0,30}})?"
        rf"|(?i:{_WEAK}|{_KEY})\d*){_AFTER_NAME}){_VALUE}",
        _rest,
    ),
    # key=x, as the settings of a command line
    (["key="], rf"(?i)(?P<before>(?<![a-z])key=)(?!['\"]?\w+\()(?P<value>{_TO_SPACE})", _rest),
    # tokens that say themselves what they are
    (
        _SHAPES,
        r"\b(?:A(?:KIA|SIA)[0-9A-Z]{16}|gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w\-]{20,}"
        r"|xox[abeoprs]-[\w\-]{10,}|[sr]k_(?:live|test)_\w{10,}|sk-[\w\-]{20,}|hf_\w{20,}"
        r"|AIza[\w\-]{35}|dapi[0-9a-f]{32}|npm_\w{30,}|pypi-[\w\-]{20,}"
        r"|eyJ[\w\-]{8,}\.[\w\-]{8,}\.[\w\-]*)",
        MASK,
    ),
)
"""Words in lower case of which a text has one where the pattern fits; the pattern; what it is
replaced by."""


def mask(text: str) -> str:
    """The text with every secret in it replaced by ***."""
    for secret in _environment_secrets():
        if secret in text:
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", MASK, text)
    lower = text.lower()
    for words, pattern, replacement in _PATTERNS:
        if any(word in lower for word in words):
            text = _compiled(pattern).sub(replacement, text)
    return text


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def says_secret(name: str) -> bool:
    """Whether what a name stands for is a secret by that name, as `tags.api_key`."""
    return bool(_NAME.search(name)) and not _HARMLESS_NAME.search(name)


def mask_value(name: str, value: Any) -> Any:
    """A setting or a tag without secrets; its type stays where it holds none.

    Args:
        name: Its name; where that says that it is secret, all of it is masked.
        value: A text, a number, or lists and mappings of them.
    """
    if isinstance(value, Mapping):
        return {key: mask_value(f"{name}.{key}", part) for key, part in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [mask_value(name, part) for part in value]
    if value is None or isinstance(value, bool) or value == "":
        return value
    if says_secret(name):
        return MASK
    return mask(value) if isinstance(value, str) else value


def mask_files(folder: Path) -> None:
    """Mask the text files under a folder in their places."""
    for path in folder.rglob("*"):
        if path.suffix in (".csv", ".json", ".md", ".txt", ".yaml"):
            text = path.read_text(encoding="utf-8")
            if (masked := mask(text)) != text:
                path.write_text(masked, encoding="utf-8")


def _environment_secrets() -> list[str]:
    """Values of environment variables whose names say that they are secret, where no other word
    could be meant."""
    values = (os.environ.get(name, "") for name in _secret_variables(tuple(os.environ)))
    return [
        value
        for value in values
        if len(value) >= 8 and not value.isalpha() and not value.isdigit() and value[0] != "/"
    ]


@cache
def _secret_variables(names: tuple[str, ...]) -> list[str]:
    return [name for name in names if says_secret(name)]
