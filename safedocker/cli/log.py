"""safedocker log: what was decided, and what became of things; joined with the engine's events."""

from __future__ import annotations

import datetime
import json
import pwd
import re
from typing import TYPE_CHECKING

import click

from safedocker import auditing
from safedocker.cli.opened import engine_here, open_store
from safedocker.cli.volumes import on_engine
from safedocker.edge import audit, people, terminal, wording_log
from safedocker.errors import NoEngine
from safedocker.loss import history
from safedocker.loss.history import Entry, Removal, Told, Wanted

if TYPE_CHECKING:
    from safedocker.loss.facts import Volume

SHOWN = 200  # decisions in the table, where nobody says how many
_LENGTHS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def _since(_context: click.Context, _option: click.Parameter, told: str | None) -> float | None:
    """ "2h", "3d", a date, a date with a time, "yesterday": seconds since the epoch."""
    if told is None:
        return None
    now = datetime.datetime.now().astimezone()
    if found := re.fullmatch(r"(\d{1,6})\s*([mhdw])", told):
        return now.timestamp() - int(found[1]) * _LENGTHS[found[2]]
    if told in {"today", "yesterday"}:
        day = now.replace(hour=0, minute=0, second=0, microsecond=0)
        return (day - datetime.timedelta(days=told == "yesterday")).timestamp()
    try:
        return datetime.datetime.fromisoformat(told).astimezone().timestamp()
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{told!r} is no time: 2h, 3d, yesterday, 2026-11-24 and 2026-11-24T14:00 are"
        ) from None


@click.command(short_help="Show what was decided, and what removed a volume.")
@click.option("--volume", metavar="NAME", default="", help="The story of one volume.")
@click.option("--container", metavar="NAME", default="", help="Only what was about a container.")
@click.option("--project", metavar="NAME", default="", help="Only of a Compose project.")
@click.option("--since", callback=_since, metavar="WHEN", help="2h, 3d, yesterday, 2026-11-24.")
@click.option(
    "--engine", metavar="ENGINE", default="", help="Only of an engine: address, name, ID."
)
@click.option(
    "--outcome", metavar="WORD", default="", help="refused, cancelled, backed up, pass, ..."
)
@click.option("--caller", metavar="WHO", default="", help="A login, or person, ci, agent, script.")
@click.option(
    "--last",
    type=click.IntRange(min=1),
    metavar="N",
    help=f"Only so many, the newest. [default: {SHOWN} in the table, all elsewhere]",
)
@click.option("--json", "as_json", is_flag=True, help="A JSON object a line, for programs.")
@on_engine
def log(
    volume: str,
    container: str,
    project: str,
    since: float | None,
    engine: str,
    outcome: str,
    caller: str,
    last: int | None,
    as_json: bool,
    host: str | None,
    context: str | None,
) -> None:
    """Show what was decided about commands, newest first: your own, and everybody's where this
    machine keeps a log (/var/log/safedocker). What the engine removed without such a command is
    shown too, as far back as its own events reach.

    `safedocker log --volume pgdata` tells who removed a volume, when, from where and by which
    command, and what became of it. A line is written before its command runs: that it was "let
    run" does not say that it went well; that a thing is gone is asked of the engine.
    """
    wanted = Wanted(volume, container, project, engine, outcome, caller, _uids(caller), since)
    everything = history.without_doubles([*audit.entries(auditing.own_file()), *audit.of_machine()])
    entries = history.chosen(everything, wanted)[:last]
    undos = history.undos(everything)
    volumes, told = _ask(host, context)
    if told is not None and wanted.engine:
        told = told if any(one.engine_id == told.engine_id for one in entries) else None
    if told is not None:
        told = history.about(told, volume=wanted.volume, container=wanted.container)
    removals = _removals(everything, told, wanted) if told is not None else ()
    if as_json:
        for one in entries:
            terminal.say(json.dumps(wording_log.entry_as_json(one, undos, people.name)))
        for removal in removals:
            terminal.say(json.dumps(wording_log.removal_as_json(removal)))
    elif volume:
        story = wording_log.Story(
            volume,
            next((one for one in volumes if history.named(one.name, volume)), None),
            entries,
            removals,
            undos,
            told,
            frozenset(one.id for one in open_store().list().backups),
        )
        now = datetime.datetime.now(datetime.UTC)
        for line in wording_log.of_volume(story, people.name, now):
            terminal.say(line)
    else:
        unseen = [one for one in removals if not one.nameless]
        rows = wording_log.rows(entries[: last or SHOWN], unseen, undos, people.name)
        if rows:
            terminal.table(wording_log.HEAD, rows)
            if (more := len(entries) - (last or SHOWN)) > 0:
                terminal.say(f"{more} older: --last {len(entries)} shows them; --since, --json too")
        else:
            terminal.say("nothing is written down")
        for line in wording_log.below(removals, told):
            terminal.say(line)


def _uids(caller: str) -> frozenset[int]:
    """The uid of a login; nothing where it is none."""
    try:
        return frozenset({pwd.getpwnam(caller).pw_uid}) if caller else frozenset()
    except (KeyError, ValueError):
        return frozenset()


def _ask(host: str | None, context: str | None) -> tuple[tuple[Volume, ...], Told | None]:
    """The engine's volumes and its events; None where it can't be asked, which is told."""
    try:
        with engine_here(host, context) as engine:
            told = engine.traces.last(engine.identity, engine.now)
            return tuple(engine.snapshot()[0].values()), told
    except NoEngine as fault:
        terminal.Terminal().note(f"{fault.message}: only what was written down is told")
        return (), None


def _removals(everything: tuple[Entry, ...], told: Told, wanted: Wanted) -> tuple[Removal, ...]:
    """What the engine removed that is asked for: volumes, or containers where one is asked for."""
    if wanted.project or wanted.outcome or wanted.caller:
        return ()  # an event does not tell
    found = history.removals(everything, told)
    return tuple(one for one in found if wanted.since is None or one.event.at >= wanted.since)
