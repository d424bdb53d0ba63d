"""Reads a backup again and says of each part whether it is what the manifest says: whole, missing
or damaged. Nothing is changed."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable
from functools import partial

from safedocker.backup import aside, contents, dumping, layers, records, restores, ways
from safedocker.backup.aside import HasMover, Place
from safedocker.backup.inventory import BadArchive
from safedocker.backup.manifest import Backup, Part
from safedocker.backup.notes import Check, Found, PartCheck
from safedocker.backup.store import FolderStore
from safedocker.backup.take import Progress, Stage
from safedocker.errors import SafedockerError
from safedocker.loss.plan import Kind


def verify(
    backup: Backup,
    store: FolderStore,
    progress: Progress,
    now: datetime.datetime,
    engine: HasMover | None = None,
) -> Check:
    """Read every part of a backup to its end. `now` is UTC, `engine` the one that it comes from:
    there stands what was moved aside.

    Raise SafedockerError when another process is about to delete it.
    """
    with store.reading(backup.id):
        return Check(
            now, tuple(_part(backup, part, store, progress, engine) for part in backup.parts)
        )


def _part(
    backup: Backup,
    part: Part,
    store: FolderStore,
    progress: Progress,
    engine: HasMover | None,
) -> PartCheck:
    """One part, with the dumps beside it."""
    if part.aside is not None:
        found = _ask(backup, part, part.aside, store, engine)
    else:
        found = _read(part, lambda: read_part(backup, part, store, progress))
        if part.file is None and not part.dumps:
            found = PartCheck(part.name, Found.DEFINITION, "it has no file in the store")
    for made in part.dumps:
        if found.well:
            pieces = store.open(backup.id, made.file.name)
            dumped = _read(part, partial(dumping.read_back, made, pieces))
            found = found if dumped.well else dumped
    return found


def _ask(
    backup: Backup, part: Part, place: Place, store: FolderStore, engine: HasMover | None
) -> PartCheck:
    if engine is None:
        return PartCheck(part.name, Found.UNKNOWN, "it was moved, and its engine can't be asked")
    # `engine` is the one that it stands on, and what goes back goes back there alone.
    others = restores.other_names(restores.read(store, backup.id), part)
    try:
        at = aside.stands(engine, part.name, place)
        other = aside.other_name(engine, others, place)
    except SafedockerError as fault:
        return PartCheck(part.name, Found.UNKNOWN, fault.message.removesuffix("."))
    if at.aside == place.inode:
        return PartCheck(part.name, Found.ASIDE, f"it stands at {place.path} on its engine")
    if at.volume == place.inode:
        return PartCheck(part.name, Found.ASIDE, "it is in the volume again")
    if other is not None:
        return PartCheck(part.name, Found.ASIDE, f"it is in the volume {other}")
    return PartCheck(part.name, Found.MISSING, f"it is not at {place.path} on its engine")


def _read(part: Part, read: Callable[[], None]) -> PartCheck:
    """Read one file of a part, and say how it was found."""
    try:
        read()
    except FileNotFoundError as fault:
        return PartCheck(part.name, Found.MISSING, f"{_name(fault)} is not there")
    except OSError as fault:
        why = f"{_name(fault)} can't be read: {fault.strerror}"
        return PartCheck(part.name, Found.DAMAGED, why)
    except BadArchive as fault:
        return PartCheck(part.name, Found.DAMAGED, fault.message.removesuffix("."))
    except SafedockerError as fault:  # kept in a way that only a newer version knows
        return PartCheck(part.name, Found.UNKNOWN, fault.message.removesuffix("."))
    return PartCheck(part.name, Found.WHOLE, "")


def _name(fault: OSError) -> str:
    return os.path.basename(str(fault.filename))


def read_part(backup: Backup, part: Part, store: FolderStore, progress: Progress) -> None:
    """Read a part's file to its end and compare it with the manifest; nothing where it has none.

    Raise OSError when it can't be read, BadArchive when it is not what was written, SafedockerError
    when it was kept in a way that is not known.
    """
    if part.file is None:
        return
    pieces = store.open(backup.id, part.file.name)
    if part.kind.is_volume:
        ways.by_name(part.way)
        if part.inventory is not None:
            total = part.inventory.bytes
            meter = _meter(progress, part, total)
            contents.read_back(pieces, part.file, part.inventory, meter)
    elif part.kind is Kind.LAYER:
        if part.way != layers.WAY:
            raise ways.unknown(part.way)
        layers.check(part.file, pieces)
    else:
        records.read_back(pieces, part.file)


def _meter(progress: Progress, part: Part, total: int) -> Callable[[int], None]:
    return lambda done: progress(Stage.CHECK, part.name, done, total)
