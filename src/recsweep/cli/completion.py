"""`recsweep completion`: what lets a shell complete commands and their options."""

import argparse

from recsweep.terminal import tell

SHELLS = ("bash", "zsh", "tcsh")


def add_to(commands: argparse._SubParsersAction) -> None:
    completion = commands.add_parser(
        "completion",
        help="let a shell complete commands and options",
        description="Print the completion of a shell. In ~/.bashrc: "
        'eval "$(recsweep completion bash)". Settings of `recsweep train` are not completed.',
    )
    completion.add_argument("shell", choices=SHELLS)
    completion.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    import shtab

    from recsweep.cli import command_parser

    tell(shtab.complete(command_parser(), arguments.shell))
