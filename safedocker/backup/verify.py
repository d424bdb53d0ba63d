"""Reads a backup again and says of each part whether it is what the manifest says: whole, missing
or damaged. Nothing is changed."""

from __future__ import annotations

import datetime
from collections.abc import Callable

from safedocker.backup import layers, records, ways
from safedocker.backup.manifest import Backup, Part
from safedocker.backup.notes import Check, Found, PartCheck
from safedocker.backup.store import FolderStore
from safedocker.backup.take import Progress, Stage
from safedocker.errors import SafedockerError
from safedocker.loss.plan import Kind


def verify(backup: Backup, store: FolderStore, progress: Progress, now: datetime.datetime) -> Check:
    """Read every part of a backup to its end. `now` is UTC.

    Raise SafedockerError when another process is about to delete it.
    """
    with store.reading(backup.id):
        return Check(now, tuple(_look(backup, part, store, progress) for part in backup.parts))


def _look(backup: Backup, part: Part, store: FolderStore, progress: Progress) -> PartCheck:
    """One part. What has no file here can only be asked for at the place where it lies."""
    if part.file is None:
        return PartCheck(part.name, Found.DEFINITION, "it has no file in the store")
    try:
        read_part(backup, part, store, progress)
    except FileNotFoundError:
        return PartCheck(part.name, Found.MISSING, f"{part.file.name} is not there")
    except OSError as fault:
        why = f"{part.file.name} can't be read: {fault.strerror}"
        return PartCheck(part.name, Found.DAMAGED, why)
    except SafedockerError as fault:
        return PartCheck(part.name, Found.DAMAGED, fault.message.removesuffix("."))
    return PartCheck(part.name, Found.WHOLE, "")


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
            ways.read_back(pieces, part.file, part.inventory, meter)
    elif part.kind is Kind.LAYER:
        if part.way != layers.WAY:
            raise ways.unknown(part.way)
        layers.check(part.file, pieces)
    else:
        records.read_back(pieces, part.file)


def _meter(progress: Progress, part: Part, total: int) -> Callable[[int], None]:
    return lambda done: progress(Stage.CHECK, part.name, done, total)
