"""The volume verbs in words: what a backup, a copy, a new name, an archive came to. Nothing is
printed here."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING

from safedocker.edge.wording import count, own_command, short
from safedocker.edge.wording_backup import beside
from safedocker.loss.facts import COMPOSE_VOLUME, Bytes

if TYPE_CHECKING:
    from safedocker.backup.clone import Copied
    from safedocker.backup.exchange import Exported, Imported
    from safedocker.backup.inventory import Inventory
    from safedocker.backup.manifest import Backup, Part

_NO_DATABASE = {"", "files"}


def backed_up(backup: Backup) -> Iterator[str]:
    """A backup of an ordinary day: its id, and of each volume what it holds and its grade."""
    volumes = count(len(backup.parts), "volume")
    yield (
        f"backed up {volumes} in {backup.id}: {Bytes(backup.data_bytes)}, stored "
        f"{Bytes(backup.stored_bytes)}, read back and compared"
    )
    for part in backup.parts:
        yield f"  {short(part.name)}: {_part(part)}"
    yield from beside(backup)
    paused = [
        short(part.name)
        for part in backup.parts
        if part.consistency.value == "paused"
        and part.content not in _NO_DATABASE
        and not part.dumps
    ]
    if paused:
        yield (
            f"the database in {', '.join(paused)} was paused, not ended: it will recover as after "
            "a power cut. For a clean copy: --stop"
        )
    yield f"to put it back: {own_command()} restore {backup.id}"


def _part(part: Part) -> str:
    if part.inventory is None or part.file is None:
        return f"{part.consistency.sentence}"
    what = f"{part.content}, " if part.content not in _NO_DATABASE else ""
    stored = f"stored {Bytes(part.file.bytes)}"
    return f"{what}{_held(part.inventory)}, {stored}; {part.consistency.sentence} ({part.reached})"


def _held(held: Inventory) -> str:
    return f"{Bytes(held.bytes)} in {count(held.files, 'file')}"


def cloned(copied: Copied) -> Iterator[str]:
    """A copy, and what it was not given."""
    source, target = short(copied.source.name), copied.target.name
    held = f"{_held(copied.held)}, compared equal" if copied.held else "its definition"
    yield f"cloned {source} as {target}: {held}"
    if copied.still:
        yield f"  {copied.still.consistency.sentence} ({copied.still.reached})"
    yield from (f"  {note}" for note in copied.notes)
    if copied.dropped:
        yield (
            f"  without the labels that say whose it is ({', '.join(copied.dropped)}): no project "
            "and no prune of anonymous volumes takes it for its own"
        )


def renamed(copied: Copied) -> Iterator[str]:
    """A new name: where the old one is, and what has to be told about the new one."""
    source, target = copied.source, copied.target.name
    held = "moved on the engine's disk, nothing was copied" if copied.moved else "its definition"
    if copied.held:
        held = f"{_held(copied.held)}, compared equal"
    yield f"renamed {short(source.name)} to {target}: {held}; {short(source.name)} is removed"
    yield from (f"  {note}" for note in copied.notes)
    if copied.dropped:
        yield f"  without the labels {', '.join(copied.dropped)}"
    if source.project:
        key = source.labels.get(COMPOSE_VOLUME, source.name)
        yield (
            f"the Compose file of {source.project} has to name it, or `up` makes an empty "
            f"{source.name}: under volumes: {key}: write name: {target}"
        )
        yield "  and external: true beside it, for Compose never to remove it"
    if copied.moved:
        back = shlex.join((target, source.name))
        yield f"to have the old name back: {own_command()} rename {back}"
    if copied.saved:
        yield (
            f"what {short(source.name)} was is in the backup {copied.saved.id}; to have it back: "
            f"{own_command()} undo {copied.saved.id}"
        )


def exported(done: Exported, to: str) -> Iterator[str]:
    """An archive, and how to have it back."""
    checked = "read back and compared" if done.read_back else "not read back"
    yield f"exported {short(done.volume.name)} to {to}: {_held(done.held)}, {checked}"
    yield f"  {done.still.consistency.sentence} ({done.still.reached}); {done.check.sentence}"
    if done.not_kept:
        yield f"  not in it, as it can't be read here: {', '.join(done.not_kept)}"
    if done.read_back:
        yield f"to have it in a volume: {own_command()} import {shlex.quote(to)} NEW"


def imported(done: Imported, source: str) -> Iterator[str]:
    """What is in the volume now."""
    made = ", which was made" if done.new else ""
    yield f"imported {source} into {done.volume}{made}: {_held(done.held)}, compared equal"
    yield from (f"  {note}" for note in done.notes)
    held = done.held
    yield f"  its folder: owner {held.root_uid}:{held.root_gid}, mode {held.root_mode:04o}"
    if done.strip:
        yield f"  {count(done.strip, 'leading folder')} taken off the names"
    if done.saved:
        yield (
            f"what it held is in the backup {done.saved.id}; to have it back: {own_command()} "
            f"undo {done.saved.id} --overwrite"
        )
