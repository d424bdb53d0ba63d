"""safedocker install, uninstall: what would be written is shown first, and somebody says so."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from safedocker import inforce
from safedocker.cli.opened import note
from safedocker.doctor.keeping import open_store
from safedocker.edge import process, terminal
from safedocker.edge.wording import clean
from safedocker.errors import Refused, SafedockerError
from safedocker.install.system import BIN
from safedocker.policy.options import CallerKind

if TYPE_CHECKING:
    from safedocker.install.person import Planned

_SHIMS = click.option(
    "--shims",
    type=click.Path(file_okay=False, path_type=Path),
    help="The shims alone, in this folder; you put it first on PATH yourself.",
)
_SYSTEM = click.option("--system", is_flag=True, help="For everybody on this machine. Needs root.")
_BIN = click.option(
    "--bin",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help=f"With --system: another folder than {BIN}.",
)
_YES = click.option("--yes", is_flag=True, help="Do not ask. For scripts.")
_DRY_RUN = click.option("--dry-run", is_flag=True, help="Show what would be done, and end.")


@click.command(short_help="Put safedocker in front of docker.")
@_SHIMS
@_SYSTEM
@_BIN
@click.option("--functions", is_flag=True, help="Shell functions for what you type; PATH stays.")
@click.option("--real", metavar="PATH", help="The real docker. Otherwise the first on PATH.")
@click.option("--real-compose", metavar="PATH", help="The same for docker-compose.")
@_YES
@_DRY_RUN
def install(
    shims: Path | None,
    system: bool,
    folder: Path | None,
    functions: bool,
    real: str | None,
    real_compose: str | None,
    yes: bool,
    dry_run: bool,
) -> None:
    """Put safedocker in front of docker and docker-compose.

    Without --system and --shims it is for you: shims in a folder of their own, and in the start
    files of your shells (bash, zsh, fish, sh) a marked block that puts it first on PATH. Each block
    is shown before it is written. With --functions the block defines docker and docker-compose as
    functions instead: then only what you type is guarded, no script, no xargs, no sudo.

    Do it again after you have moved or updated safedocker, Python or docker.
    """
    _one_way({"--shims": shims, "--system": system, "--functions": functions})
    _only_with("--bin", folder, "--system", system)
    if shims is not None:
        _no_plan(yes=yes, dry_run=dry_run)
        from safedocker.install import install as write_shims

        _say(write_shims(shims, real, real_compose))
    elif system:
        _install_system(folder or BIN, real, real_compose, yes=yes, dry_run=dry_run)
    else:
        _install_person(real, real_compose, functions=functions, yes=yes, dry_run=dry_run)


def _install_person(
    real: str | None, real_compose: str | None, *, functions: bool, yes: bool, dry_run: bool
) -> None:
    from safedocker.install import PROGRAMS, find_real, person

    planned = person.plan(person.Way.FUNCTIONS if functions else person.Way.PATH, os.environ)
    for program, given in zip(PROGRAMS, (real, real_compose), strict=True):
        found = find_real(program, given)
        terminal.say(f"{planned.places.shims / program}: the shim before {found or 'none yet'}")
    terminal.say(f"they start with {sys.executable}")
    _show(planned)
    if dry_run:
        return
    _agree("write this", "nothing was written", yes=yes)
    with _told("write"):
        _say(person.write(planned, real, real_compose))
    if not planned.record.files:
        shims = planned.places.shims
        terminal.say(f"no shell of yours was found; put this first on PATH yourself: {shims}")
    else:
        terminal.say("it holds in every shell that you open from now on; to see whether: type")
        terminal.say("  safedocker doctor")


def _install_system(
    folder: Path, real: str | None, real_compose: str | None, *, yes: bool, dry_run: bool
) -> None:
    from safedocker.install import OWN, PROGRAMS, find_real, system

    reals = [
        find_real(program, given)
        for program, given in zip(PROGRAMS, (real, real_compose), strict=True)
    ]
    system.check(folder, reals)
    for program, found in zip(PROGRAMS, reals, strict=True):
        terminal.say(f"{folder / program}: the shim before {found or 'none yet'}")
    terminal.say(f"{folder / OWN}: safedocker")
    terminal.say(f"they start with {sys.executable}")
    if dry_run:
        return
    _agree("write this", "nothing was written", yes=yes)
    with _told("write"):
        _say(system.write(folder, real, real_compose))


@click.command(short_help="Take that away again; backups stay.")
@_SHIMS
@_SYSTEM
@_BIN
@_YES
@_DRY_RUN
def uninstall(
    shims: Path | None, system: bool, folder: Path | None, yes: bool, dry_run: bool
) -> None:
    """Take safedocker away from in front of docker, and leave everything as it was.

    What you have written around our lines stays. Backups and the audit stay too, and you are told
    where they are. An agent uninstalls nothing.
    """
    _one_way({"--shims": shims, "--system": system})
    _only_with("--bin", folder, "--system", system)
    who = inforce.caller(can_ask=terminal.Terminal().can_ask)
    if who.kind is CallerKind.AGENT:
        note((), "uninstall", who, "refused")
        raise Refused(
            f"refused: an agent ({who.mark}) does not uninstall safedocker. Nothing was removed",
            "a person does that, at a terminal",
        )
    if shims is not None:
        _no_plan(yes=yes, dry_run=dry_run)
        from safedocker.install import uninstall as remove_shims

        _say(remove_shims(shims))
    elif system:
        _uninstall_system(folder or BIN, yes=yes, dry_run=dry_run)
    else:
        _uninstall_person(yes=yes, dry_run=dry_run)
    _what_stays()


def _uninstall_person(*, yes: bool, dry_run: bool) -> None:
    from safedocker.install import person

    planned = person.plan_removal(os.environ)
    if planned.places.shims.is_dir():
        terminal.say(f"{planned.places.shims}: the shims go")
    _show(planned)
    if dry_run:
        return
    _agree("remove this", "nothing was removed", yes=yes)
    with _told("remove"):
        _say(person.remove(planned))


def _uninstall_system(folder: Path, *, yes: bool, dry_run: bool) -> None:
    from safedocker.install import OWN, PROGRAMS, system

    for program in (*PROGRAMS, OWN):
        if process.is_shim(str(folder / program)):
            terminal.say(f"{folder / program}: goes")
    if dry_run:
        return
    _agree("remove this", "nothing was removed", yes=yes)
    with _told("remove"):
        _say(system.remove(folder))


def _what_stays() -> None:
    """Say where the data is that no uninstalling touches."""
    with contextlib.suppress(Refused):  # there is no store that could be used, and nothing in it
        backups = open_store().where
        if os.path.exists(backups):
            terminal.say(f"backups stay: {backups}")
    audit = os.path.join(process.state_folder(), "audit.jsonl")
    if os.path.exists(audit):
        terminal.say(f"the audit stays: {audit}")


def _show(planned: Planned) -> None:
    """Every file that changes, and its lines."""
    for change in planned.changes:
        why = f" ({change.why})" if change.why else ""
        terminal.say(f"\n{clean(change.shown)}, {change.where}{why}:")
        for line in change.lines.decode("utf-8", "replace").splitlines():
            terminal.say(f"    {clean(line)}")
    if planned.changes:
        terminal.say("")


def _agree(what: str, nothing: str, *, yes: bool) -> None:
    """Raise Refused unless somebody says so."""
    if yes:
        return
    screen = terminal.Terminal()
    if not screen.can_ask:
        raise Refused(
            f"nobody can be asked: {nothing}", "say --yes in a script, or run it at a terminal"
        )
    if not screen.confirm("yes", what):
        raise Refused(f"cancelled: {nothing}")


class _told:  # noqa: N801 - reads as a word of the sentence it stands in
    """Within it a fault of the system is told as a sentence, not as a bug."""

    def __init__(self, verb: str) -> None:
        self.verb = verb

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, fault: BaseException | None, _trace: object) -> None:
        if isinstance(fault, OSError):
            raise SafedockerError(
                f"could not {self.verb} {fault.filename or 'a file'}: {fault.strerror}; the start "
                "files of your shells are as they were",
                "repair that and try again",
            ) from fault


def _one_way(ways: Mapping[str, object]) -> None:
    told = [name for name, value in ways.items() if value]
    if len(told) > 1:
        raise click.UsageError(f"{' and '.join(told)} exclude each other")


def _only_with(name: str, value: object, other: str, there: bool) -> None:
    if value is not None and not there:
        raise click.UsageError(f"{name} goes with {other}")


def _no_plan(*, yes: bool, dry_run: bool) -> None:
    if yes or dry_run:
        raise click.UsageError("--shims asks nothing and shows nothing: --yes and --dry-run do not")


def _say(lines: list[str]) -> None:
    for line in lines:
        terminal.say(line)
