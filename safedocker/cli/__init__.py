"""safedocker's own commands: what is asked for, and what is told. What they do is the rooms'."""

from __future__ import annotations

import json
import os
import sys
from typing import NoReturn

import click

import safedocker
from safedocker import doctor, telling
from safedocker.cli import (
    after,
    aside,
    backups,
    diff,
    drill,
    exchange,
    expire,
    freeze,
    installing,
    log,
    policy,
    rescue,
    storage,
    undo,
    volumes,
)
from safedocker.cli.opened import PROGRAMS
from safedocker.edge import streams, terminal
from safedocker.errors import ExitCode, Interrupted, SafedockerError


def main() -> NoReturn:
    """Run one of our own commands, and end with its exit code. The one handler."""
    streams.open_all()
    try:
        code = _run()
        sys.stdout.flush()
    except SafedockerError as fault:
        code = _tell(fault)
    except BrokenPipeError:  # `safedocker backups | head -1`
        code = ExitCode.ERROR
    sys.exit(int(code))


def _run() -> int:
    """Raise what is wrong with standard output."""
    try:
        return commands.main(prog_name="safedocker", standalone_mode=False) or 0
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.ClickException as fault:
        terminal.tell(SafedockerError(fault.format_message(), _usage(fault)))
        return fault.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _tell(Interrupted("interrupted"))
    except SafedockerError as fault:
        return _tell(fault)
    except BrokenPipeError:
        raise
    except Exception as fault:  # noqa: BLE001 - the one handler: a bug of ours is told as one
        return telling.report(fault, sys.argv)


def _tell(fault: SafedockerError) -> int:
    terminal.tell(fault)
    return int(fault.exit_code)


def _usage(fault: click.ClickException) -> str:
    context = getattr(fault, "ctx", None)
    return f"see: {context.command_path} --help" if context else "see: safedocker --help"


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, invoke_without_command=True)
@click.version_option(safedocker.__version__)
@click.pass_context
def commands(context: click.Context) -> None:
    """Nothing that docker removes is gone for good: see what was backed up, and put it back.

    The backups are made by the shims that stand before docker and docker-compose; `safedocker
    install` puts them there.
    """
    if context.invoked_subcommand is None:
        terminal.say(context.get_help())


# explain


@commands.command(
    short_help="Show what a command would delete.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.argument("words", metavar="docker ...", nargs=-1, type=click.UNPROCESSED, required=True)
def explain(as_json: bool, words: tuple[str, ...]) -> None:
    """Show what a command would delete and what would be done about it. Nothing is run.

    safedocker explain -- docker compose down -v
    """
    from safedocker import explain as explained

    program = os.path.basename(words[0])
    if program not in PROGRAMS:
        raise click.UsageError(f"{words[0]} is neither docker nor docker-compose")
    found = explained.explain(program, words[1:], can_ask=terminal.Terminal().can_ask)
    if as_json:
        terminal.say(json.dumps(explained.as_json(found), indent=1))
    else:
        explained.tell(found)


# those of the files beside this one


for command in (
    *(undo.undo, backups.backups, backups.show, backups.verify, drill.drill, diff.diff),
    *(backups.keep, expire.delete, expire.expire),
    doctor.doctor,
    *(volumes.backup, volumes.restore, volumes.clone, volumes.rename),
    *(exchange.export, exchange.import_),
    *(storage.storage, rescue.rescue, log.log),
    *(policy.policy, freeze.freeze, freeze.unfreeze),
    *(installing.install, installing.uninstall),
    aside.aside,
    after.after_the_command,
):
    commands.add_command(command)
