"""Command lines that are wrong, said in one line with what was meant."""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from typing import NoReturn

from recsweep.logs import VERBOSITY
from recsweep.masking import mask
from recsweep.terminal import tell

VERBOSITY_FLAGS = (("--quiet", "-q"), ("--verbose", "-v"))


def add_verbosity(parser: argparse.ArgumentParser) -> None:
    """Options of every command; `take_verbosity` reads them."""
    for (name, short), words in zip(
        VERBOSITY_FLAGS,
        ("results and warnings alone", "more of what happens, and where an error comes from"),
        strict=True,
    ):
        parser.add_argument(short, name, action="store_true", help=words)


def take_verbosity(words: Sequence[str]) -> list[str]:
    """The words of a command line without those of VERBOSITY_FLAGS, which this process and its
    workers follow from now on."""
    for names in VERBOSITY_FLAGS:
        if set(names).intersection(words):
            os.environ[VERBOSITY] = names[0].removeprefix("--")
    flags = {flag for names in VERBOSITY_FLAGS for flag in names}
    return [word for word in words if word not in flags]


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that says a mistake in one line, without its usage above it, and ends with
    status 2."""

    def error(self, message: str) -> NoReturn:
        # masked before it stands in quotes, behind which `--token X` would be no option any more
        tell(f"error: {self._in_words(mask(message))}", file=sys.stderr)
        raise SystemExit(2)

    def _in_words(self, message: str) -> str:
        from recsweep.checks import meant, nearest, short

        message = " ".join(message.split())
        if found := re.fullmatch(
            r"argument (\S+): invalid choice: '(.*)' \(choose from (.*)\)", message
        ):
            choices = re.findall(r"[\w-]+", found[3])
            return f"{found[1]} can't be {short(found[2])!r}. {meant(found[2], choices)}"
        if found := re.fullmatch(r"unrecognized arguments: (.*)", message):
            stranger = found[1].split()[0]
            options = set(re.findall(r"(?<!\w)--?[a-z][\w-]*", self.format_help()))
            near = nearest(stranger.partition("=")[0], options)
            meaning = f"Did you mean {near}? " if near else ""
            return f"{self.prog} takes no {short(found[1])!r}. {meaning}{self._remedy()}"
        return f"{short(message[:1].upper() + message[1:])}. {self._remedy()}"

    def _remedy(self) -> str:
        return f"`{self.prog} --help` shows what it takes."


def parted(words: Sequence[str], prog: str) -> tuple[list[str], list[str]]:
    """The flags of a command line of Hydra's with their values, and its overrides, which may stand
    before, between and behind them.

    Hydra's own parser says a mistake in eight lines, takes no override before a flag and another
    one behind it, and can't be asked beforehand.
    """
    parser = Parser(prog=prog, add_help=False)
    for names in (
        ("--help", "-h"),
        ("--hydra-help",),
        ("--version",),
        ("--resolve",),
        ("--run", "-r"),
        ("--multirun", "-m"),
        ("--shell-completion", "-sc"),
        *VERBOSITY_FLAGS,
    ):
        parser.add_argument(*names, action="store_true")
    parser.add_argument("--cfg", "-c", choices=("job", "hydra", "all"))
    for names in (
        ("--package", "-p"),
        ("--config-path", "-cp"),
        ("--config-name", "-cn"),
        ("--config-dir", "-cd"),
        ("--experimental-rerun",),
    ):
        parser.add_argument(*names)
    sections = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
    parser.add_argument("--info", "-i", nargs="?", choices=sections)
    parser.add_argument("overrides", nargs="*")
    overrides = parser.parse_intermixed_args(words).overrides
    flags = list(reversed(words))
    for override in overrides:
        flags.remove(override)
    return flags[::-1], overrides
