"""safedocker diff: what changed since a backup."""

from __future__ import annotations

import base64
import contextlib
import datetime
import json
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from safedocker.cli.opened import engine_of, find_backup, full_name, open_store
from safedocker.edge import process, terminal, wording
from safedocker.errors import ExitCode, SafedockerError

if TYPE_CHECKING:
    from safedocker.backup.diff import Change, Difference
    from safedocker.backup.manifest import Backup, Part

_SIGNS = {"added": "+", "removed": "-", "changed": "~"}
DIFFERS = 1


@click.command(short_help="Show what changed since a backup.")
@click.argument("id_", metavar="[ID]", required=False)
@click.option("--volume", "only", multiple=True, metavar="NAME", help="Only this one. Repeatable.")
@click.option("--summary", is_flag=True, help="The counts alone.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("-H", "--host", metavar="HOST", help="The engine to look at, as docker takes it.")
@click.option("-c", "--context", metavar="NAME", help="The same, by the name of a Docker context.")
@click.option("--any-engine", is_flag=True, help="Also one that the backup does not come from.")
def diff(
    id_: str | None,
    only: tuple[str, ...],
    summary: bool,
    as_json: bool,
    host: str | None,
    context: str | None,
    any_engine: bool,
) -> int:
    """Show what changed between a backup, the last one or that of an ID, and its volumes as they
    are now: "+" was added since, "-" removed, "~" changed. Nothing is written.

    With --json a path, or a link's target, that is no UTF-8 has U+FFFD in place of what is none,
    and its bytes stand beside it: "path_base64", "link_base64".

    Ends with 0 where all is the same, with 1 where something differs, and with 2 where that could
    not be found out.
    """
    options = {"host": host, "context": context}
    given = {key: value for key, value in options.items() if value is not None}
    try:
        return _diff(id_, only, summary, as_json, given, any_engine)
    except SafedockerError as fault:
        fault.exit_code = ExitCode.USAGE  # as diff itself: 1 says that something differs
        raise


def _diff(
    id_: str | None,
    only: tuple[str, ...],
    summary: bool,
    as_json: bool,
    given: dict[str, str],
    any_engine: bool,
) -> int:
    from safedocker.backup.diff import compare
    from safedocker.backup.undo import check_engine

    store = open_store()
    backup = find_backup(store, id_)
    parts = _chosen(backup, tuple(full_name(backup, name) for name in only))
    screen = terminal.Terminal()
    differs = False
    with process.EndingSignals(), engine_of(backup, given, any_engine) as engine:
        if engine is None:
            raise SafedockerError(f"the backup {backup.id} is of no engine", "there is no volume")
        if not any_engine:
            check_engine(backup, engine.identity)
        engine.sweep()
        if as_json:
            terminal.say(f'{{"diff": 1, "backup": {json.dumps(backup.id)}, "volumes": [')
        for number, part in enumerate(parts):
            with contextlib.ExitStack() as stack:
                with screen.progress() as progress:
                    found = stack.enter_context(compare(backup, part, engine, store, progress))
                differs = differs or found.differs
                if as_json and number:
                    terminal.say(",")
                for line in _json(found) if as_json else _lines(found, summary):
                    terminal.say(line)
        if as_json:
            terminal.say(f'], "differs": {json.dumps(differs)}}}')
    return DIFFERS if differs else 0


def _chosen(backup: Backup, only: tuple[str, ...]) -> tuple[Part, ...]:
    volumes = {part.name: part for part in backup.parts if part.kind.is_volume}
    for name in only:
        if name not in volumes:
            raise SafedockerError(
                f"the backup {backup.id} does not hold a volume {name!r}",
                f"it holds: {', '.join(volumes) or 'none'}",
            )
    if not volumes:
        raise SafedockerError(
            f"the backup {backup.id} holds no volume", f"see: safedocker show {backup.id}"
        )
    return tuple(volumes[name] for name in only or volumes)


def _lines(found: Difference, summary: bool) -> Iterator[str]:
    name = wording.short(found.part.name)
    counts = {turn.value: number for turn, number in found.counts.items() if number}
    if found.gone:
        yield f"{name}: the volume is gone"
        return
    told = ", ".join(f"{number} {turn}" for turn, number in counts.items())
    if found.part.file is None:
        told = told or "only its definition is in the backup"
    else:
        told = f"{told or 'no change'}; {found.same} the same"
    yield f"{name}: {told}"
    if found.running:
        yield f"  {', '.join(found.running)} runs with it: it may have changed meanwhile"
    for what in found.definition:
        yield f"  ! {what}"
    if summary:
        return
    for change in found.changes():
        path = _written_out(os.fsdecode(change.path)) or "."
        if change.kind == "directory" and change.path:
            path += "/"
        yield f"  {_SIGNS[change.turn.value]} {path}{_aspects(change)}"


def _written_out(name: str) -> str:
    """A name on one line, and no two the same: a newline is \\n, a backslash is two."""
    return wording.clean(name.replace("\\", "\\\\"))


def _aspects(change: Change) -> str:
    told = []
    for name, (before, now) in change.aspects.items():
        if name == "mtime":
            before, now = _time(before), _time(now)
        before, now = _written_out(before), _written_out(now)
        told.append(f"{name} {before} -> {now}" if before or now else name)
    return f" ({', '.join(told)})" if told else ""


def _time(seconds: str) -> str:
    moment = datetime.datetime.fromtimestamp(int(seconds), datetime.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _json(found: Difference) -> Iterator[str]:
    """A volume as JSON, a line each change: there may be millions."""
    head = {
        "name": found.part.name,
        "gone": found.gone,
        "differs": found.differs,
        "definition": list(found.definition),
        "running": list(found.running),
        "same": found.same,
        **{turn.value: number for turn, number in found.counts.items()},
    }
    yield json.dumps(head)[:-1] + ', "changes": ['
    before = ""
    for change in found.changes():
        aspects = [_named(name, *map(os.fsencode, pair)) for name, pair in change.aspects.items()]
        told = {
            **{key: one for key, (one,) in _named("path", change.path).items()},
            "kind": change.kind,
            "turn": change.turn.value,
            "aspects": {key: pair for one in aspects for key, pair in one.items()},
        }
        yield before + json.dumps(told)
        before = ","
    yield "]}"


def _named(key: str, *names: bytes) -> dict[str, list[str]]:
    """Names under a key, and where one is no UTF-8, which JSON has no room for, in base64 too."""
    told = {key: [name.decode("utf-8", "replace") for name in names]}
    if any(name.decode("utf-8", "ignore").encode() != name for name in names):
        told[f"{key}_base64"] = [base64.b64encode(name).decode("ascii") for name in names]
    return told
