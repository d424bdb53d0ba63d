"""safedocker backups, show, verify, keep: what the store holds, and whether it is whole."""

from __future__ import annotations

import contextlib
import datetime
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from safedocker.cli.opened import engine_of, find_backup, open_store, read_notes
from safedocker.edge import process, terminal, wording, wording_backup
from safedocker.errors import ExitCode, NoEngine, SafedockerError
from safedocker.loss.facts import Bytes

if TYPE_CHECKING:
    from safedocker.backup.manifest import Backup
    from safedocker.backup.notes import Check
    from safedocker.backup.store import FolderStore
    from safedocker.edge.engine import Engine


@click.command(short_help="List the backups.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def backups(as_json: bool) -> None:
    """List the backups, newest first, those that can't be read too."""
    store = open_store()
    listing = store.list()
    if as_json:
        told = {
            one.id: {**_manifest(one), "state": _undone(store, one), **_notes(store, one)}
            for one in listing.backups
        }
        for broken in listing.damaged:
            told[broken.id] = {"id": broken.id, "state": "damaged", "error": broken.error.message}
        terminal.say(json.dumps([told[id_] for id_ in sorted(told, reverse=True)], indent=1))
        return
    now = datetime.datetime.now(datetime.UTC)
    rows = [
        (
            one.id,
            wording.ago(one.taken_at, now),
            str(Bytes(one.data_bytes)),
            ", ".join(wording_backup.held(part) for part in one.parts),
            one.project or "-",
            (one.engine.name or one.engine.host) if one.engine else "-",
            _state(store, one),
        )
        for one in listing.backups
    ]
    rows.extend(
        (broken.id, "?", "?", "?", "?", "?", f"damaged: {broken.error.message}")
        for broken in listing.damaged
    )
    if not rows:
        terminal.say(f"no backups in {store.where}")
        return
    rows.sort(reverse=True)
    terminal.table(("ID", "TAKEN", "SIZE", "WHAT", "PROJECT", "ENGINE", "STATE"), rows)


def _state(store: FolderStore, backup: Backup) -> str:
    """In a few words: undone, kept, and what the last check and drill said."""
    now = datetime.datetime.now(datetime.UTC)
    notes = read_notes(store, backup.id)
    states = [_undone(store, backup), "kept" if notes.kept else ""]
    for what, one in (("checked", notes.check), ("drilled", notes.drill)):
        if one is not None:
            states.append(f"{what} {wording.ago(one.at, now)}: {wording_backup.said_of(one)}")
    return "; ".join(filter(None, states))


def _undone(store: FolderStore, backup: Backup) -> str:
    from safedocker.backup import restores

    return wording_backup.undone(restores.how_far(backup, restores.read(store, backup.id)))


@click.command()
@click.argument("id_", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="The manifest, for programs.")
def show(id_: str, as_json: bool) -> None:
    """Show everything that is known of a backup."""
    store = open_store()
    backup = find_backup(store, id_)
    if as_json:
        terminal.say(json.dumps(_manifest(backup), indent=1))
        return
    where = str(Path(store.where, backup.id))
    terminal.details(
        (
            *wording_backup.facts(backup),
            ("state", _undone(store, backup)),
            *wording_backup.note_facts(read_notes(store, backup.id)),
            ("in", where),
        )
    )
    for part in backup.parts:
        terminal.say("")
        terminal.details(wording_backup.part_facts(part))
    terminal.say("")
    terminal.say(f"to put it back: {wording.own_command()} undo {backup.id}")


def _notes(store: FolderStore, backup: Backup) -> dict[str, object]:
    notes = read_notes(store, backup.id)
    return {
        "kept": notes.kept,
        "check": notes.check and _told(backup.id, notes.check),
        "drill": notes.drill
        and {
            "at": notes.drill.at.isoformat(),
            "well": notes.drill.well,
            "engine": notes.drill.engine,
        },
    }


@click.command(short_help="Read backups again, and say whether they are whole.")
@click.argument("id_", metavar="[ID]", required=False)
@click.option("--all", "everything", is_flag=True, help="Every backup there is.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def verify(id_: str | None, everything: bool, as_json: bool) -> int:
    """Read every part of a backup again, the last one's or that of an ID, and compare it with what
    was written down. Ends with 1 if a part is missing or damaged. The date and the result are kept
    beside the backup.
    """
    from safedocker.backup.verify import verify as read_again

    if everything and id_ is not None:
        raise click.UsageError("name one backup, or say --all")
    store = open_store()
    listing = store.list() if everything else None
    found = listing.backups if listing else (find_backup(store, id_),)
    screen = terminal.Terminal()
    checks: dict[str, Check] = {}
    faults = {one.id: one.error for one in listing.damaged} if listing else {}
    with process.EndingSignals(), screen.progress() as progress:
        for backup in found:
            now = datetime.datetime.now(datetime.UTC)
            try:
                with _engine_of_moved(backup) as engine:
                    checks[backup.id] = read_again(backup, store, progress, now, engine)
            except SafedockerError as fault:
                if not everything:
                    raise
                faults[backup.id] = fault
                continue
            _write_down(store, backup.id, checks[backup.id], screen)
    well = not faults and all(check.well for check in checks.values())
    if as_json:
        told: list[dict[str, object]] = [_told(id_, check) for id_, check in checks.items()]
        told += [{"id": id_, "well": False, "error": one.message} for id_, one in faults.items()]
        terminal.say(json.dumps(told, indent=1))
    else:
        for id_, check in checks.items():
            for line in wording_backup.checked(id_, check):
                terminal.say(line)
        for id_, broken in faults.items():
            terminal.say(f"{id_}: {broken.message}")
        if not checks and not faults:
            terminal.say(f"no backups in {store.where}")
    return 0 if well else int(ExitCode.ERROR)


@contextlib.contextmanager
def _engine_of_moved(backup: Backup) -> Iterator[Engine | None]:
    """The engine on which something of the backup stands aside; None where it can't be asked."""
    with contextlib.ExitStack() as stack:
        engine = None
        if backup.moved:
            with contextlib.suppress(NoEngine):
                engine = stack.enter_context(engine_of(backup, {}, any_engine=False))
        here = engine and backup.engine and engine.identity.id == backup.engine.id
        yield engine if here else None


def _write_down(store: FolderStore, id_: str, check: Check, screen: terminal.Terminal) -> None:
    from safedocker.backup import notes

    try:
        notes.write_check(store, id_, check)
    except OSError as fault:
        screen.note(f"the result can't be written down in {store.where}: {fault.strerror}")


def _told(id_: str, check: Check) -> dict[str, object]:
    return {
        "id": id_,
        "well": check.well,
        "at": check.at.isoformat(),
        "parts": [
            {"name": part.name, "found": part.found.value, "why": part.why} for part in check.parts
        ],
    }


@click.command(short_help="Let a backup be neither expired nor deleted.")
@click.argument("id_", metavar="ID")
@click.option("--off", is_flag=True, help="Take that back.")
def keep(id_: str, off: bool) -> None:
    """Pin a backup: `safedocker expire` and `delete` leave it alone until `keep --off`."""
    from safedocker.backup import notes

    store = open_store()
    backup = find_backup(store, id_)
    try:
        with store.reading(backup.id):
            if off:
                notes.unpin(store, backup.id)
            else:
                notes.pin(store, backup.id, datetime.datetime.now(datetime.UTC))
    except OSError as fault:
        raise SafedockerError(
            f"that can't be written down in {store.where}: {fault.strerror}",
            "make it writable for this user",
        ) from fault
    terminal.say(f"{backup.id}: {'no longer kept' if off else 'kept until you take it back'}")


def _manifest(backup: Backup) -> dict[str, object]:
    from safedocker.backup.manifest import dump

    body: dict[str, object] = json.loads(dump(backup))
    return body
