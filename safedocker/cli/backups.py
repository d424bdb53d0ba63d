"""safedocker backups, show: what the store holds."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from safedocker.cli.opened import find_backup, open_store
from safedocker.edge import terminal, wording, wording_backup
from safedocker.loss.facts import Bytes

if TYPE_CHECKING:
    from safedocker.backup.manifest import Backup
    from safedocker.backup.store import FolderStore


@click.command(short_help="List the backups.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def backups(as_json: bool) -> None:
    """List the backups, newest first, those that can't be read too."""
    store = open_store()
    listing = store.list()
    if as_json:
        told = {one.id: {**_manifest(one), "state": _state(store, one)} for one in listing.backups}
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
    restores = store.restores(backup.id)
    if not restores:
        return "ready"
    return "undone" if all(one.done for one in restores) else "undo was interrupted"


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
        (*wording_backup.facts(backup), ("state", _state(store, backup)), ("in", where))
    )
    for part in backup.parts:
        terminal.say("")
        terminal.details(wording_backup.part_facts(part))
    terminal.say("")
    terminal.say(f"to put it back: {wording.own_command()} undo {backup.id}")


def _manifest(backup: Backup) -> dict[str, object]:
    from safedocker.backup.manifest import dump

    body: dict[str, object] = json.loads(dump(backup))
    return body
