"""safedocker freeze, unfreeze: nothing goes until then."""

from __future__ import annotations

import datetime
import getpass
from pathlib import Path

import click

from safedocker import inforce
from safedocker.cli.expire import read_as
from safedocker.cli.opened import note
from safedocker.edge import terminal
from safedocker.errors import BadPolicy, Refused, SafedockerError
from safedocker.policy import load
from safedocker.policy.options import Frozen
from safedocker.policy.values import AGE

_MACHINE = click.option(
    "--system", is_flag=True, help="For everybody on this machine. Only root may."
)


@click.command(short_help="Let nothing be deleted for a while.")
@click.option(
    "--for",
    "length",
    callback=read_as(AGE),
    metavar="AGE",
    required=True,
    help="For how long: 90m, 2h, 3d.",
)
@_MACHINE
@click.argument("why", default="")
def freeze(length: datetime.timedelta, system: bool, why: str) -> None:
    """Let nothing that holds data be deleted until then, whoever asks for it.

    safedocker freeze --for 2h "release"
    """
    file = _file(system)
    now = datetime.datetime.now(datetime.UTC)
    until = now.replace(microsecond=0) + length
    try:
        standing = load.read_freeze(file)
    except BadPolicy:
        standing = None  # one that can't be read stops everything: this one says until when
    if standing is not None and standing.until > until:
        raise SafedockerError(
            f"it is {standing.told}: a shorter one would end it sooner",
            "to end it sooner: safedocker unfreeze",
        )
    who = inforce.caller(can_ask=terminal.Terminal().can_ask)
    made = Frozen(until, why, getpass.getuser(), str(file))
    note((), "freeze", who, made.told)
    load.write_freeze(file, made)
    terminal.say(made.told)


@click.command(short_help="End a freeze.")
@_MACHINE
def unfreeze(system: bool) -> None:
    """End a freeze before its time. Only a person at a terminal can."""
    file = _file(system)
    told = "a freeze that can't be read"
    try:
        standing = load.read_freeze(file)
    except BadPolicy:
        pass
    else:
        if standing is None:
            raise SafedockerError(f"nothing is frozen by {file}", _still(system))
        told = standing.told
    screen = terminal.Terminal()
    who = inforce.caller(can_ask=screen.can_ask)
    if not who.can_be_asked:
        note((), "unfreeze", who, "refused")
        raise Refused(
            f"refused: nobody can be asked ({who.kind.value}: {who.mark}). It is {told}",
            "a person does that, at a terminal",
        )
    terminal.say(f"it is {told}")
    if not screen.confirm("unfreeze", "end that"):
        raise Refused(f"cancelled: it is {told}")
    note((), "unfreeze", who, f"ended: {told}")
    file.unlink(missing_ok=True)
    terminal.say("nothing is frozen any more" if not _still(system) else _still(system))


def _still(system: bool) -> str:
    """What another file still says."""
    other = load.frozen(inforce.places())
    return f"{other.told} ({other.source})" if other is not None and not system else ""


def _file(system: bool) -> Path:
    places = inforce.places()
    return (places.system if system else places.user) / load.FREEZE_FILE
