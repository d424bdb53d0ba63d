"""Puts a backup back: every check for every part first, then write, read back and compare.

An undo that was killed can be run again: the restore journal tells its own half-written volume
from a stranger's. How contents are written is ways.py's.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from safedocker.backup import aside, layers, records, remake, restores, ways
from safedocker.backup.contents import check_unchanged
from safedocker.backup.manifest import Backup, Part
from safedocker.backup.records import OpenContexts, Places, RecordWay
from safedocker.backup.refill import Step, Target, find_target, restore
from safedocker.backup.remake import Failed
from safedocker.backup.restores import Journal, entry
from safedocker.backup.store import FolderStore
from safedocker.backup.take import RESERVE, Calm, Occasion, Progress, Stage, keep
from safedocker.backup.verify import read_part
from safedocker.backup.ways import Engine
from safedocker.errors import SafedockerError
from safedocker.loss.facts import EngineIdentity, Holds, Volume
from safedocker.loss.plan import Kind, Loss


@dataclass(frozen=True)
class RestoredPart:
    """One part that is again as the backup holds it; where it was not compared, `told` says what
    it is."""

    part: Part
    name: str  # other than the part's when it was renamed
    step: Step
    told: str = ""


@dataclass(frozen=True)
class Restored:
    """What an undo did. `saved` holds what was replaced; `notes` are sentences for the person;
    `failed` are containers that are not back, or do not run as they did."""

    parts: tuple[RestoredPart, ...]
    saved: Backup | None
    notes: tuple[str, ...]
    failed: tuple[Failed, ...] = ()


@dataclass(frozen=True)
class _Record:
    """A thing to be made again of its record, under a name; or that stands there already."""

    way: RecordWay
    part: Part
    name: str
    record: bytes
    there: bool


def undo(
    backup: Backup,
    engine: Engine | None,
    store: FolderStore,
    *,
    only: Sequence[str] = (),
    rename: Mapping[str, str] | None = None,
    overwrite: bool = False,
    any_engine: bool = False,
    argv: Sequence[str] = (),
    cwd: str = "",
    caller: str = "",
    progress: Progress,
    now: datetime.datetime,
    reserve: int = RESERVE,
    contexts: OpenContexts | None = None,
) -> Restored:
    """Put the parts back, `only` those named in the backup, under the new names of `rename`.

    `overwrite` lets volumes that hold data be replaced; what they hold is backed up first.
    `any_engine` lets the backup go onto another engine than its own. `now` is UTC.
    Raise SafedockerError, before anything is touched, when one of them can't be put back; NoBackup
    when what is to be replaced can't be backed up; SafedockerError when a volume, written, does
    not compare equal. The backup stays in every case.
    """
    if not any_engine and engine is not None:
        check_engine(backup, engine.identity)
    parts = _select(backup, only)
    names = _names(backup, parts, dict(rename or {}))
    places = Places(engine, contexts)
    with store.hold(backup.id):
        kept = [
            _record(backup, way, part, names[part.name], places, store)
            for part in parts
            if (way := records.way_of(part.kind)) is not None
        ]
        volumes = [part for part in parts if part.kind.is_volume]
        journal = Journal(store, backup.id, engine.identity.id if engine else "")
        restored: list[RestoredPart] = []
        saved = None
        failed: tuple[Failed, ...] = ()
        whole = [part for part in parts if part.kind is Kind.LAYER]
        if volumes or whole:
            if engine is None:
                raise SafedockerError("they go onto an engine", "name one with --host")
            for part in (*volumes, *whole):
                _check_part(backup, part, store, progress)
            elsewhere = _check_aside(backup, volumes, names, engine, journal)
            _volumes, containers = engine.snapshot()
            again = [
                remake.find_target(
                    *(part, names[part.name], _head(backup, part, store)),
                    *(engine, containers, journal),
                )
                for part in whole
            ]
            occasion = Occasion(tuple(argv), cwd, caller, "undo", backup.project)
            go_on = not all(journal.finished(entry(part, names[part.name])) for part in parts)
            targets = [
                find_target(
                    *(backup, part, names[part.name], engine, containers, journal),
                    overwrite=overwrite,
                    go_on=go_on,
                )
                for part in volumes
                if part.name not in elsewhere
            ]
            saved = _save(targets, engine, store, occasion, progress, now, reserve)
            for part in volumes:
                if part.name in elsewhere:
                    journal.state(part, elsewhere[part.name], done=True)
                    restored.append(RestoredPart(part, elsewhere[part.name], Step.NOTHING))
            for target in targets:
                try:
                    restore(target, backup, engine, store, journal, progress, saved)
                except SafedockerError as fault:
                    raise _with_saved(fault, saved) from fault
                restored.append(RestoredPart(target.part, target.name, target.step, target.told))
            failed = remake.put_back(
                again,
                lambda part: _layer(backup, part, store),
                engine,
                journal,
                lambda: restores.successors(store, engine.identity.id),
            )
            missing = {one.name for one in failed if not one.made}
            restored += [
                RestoredPart(one.part, one.name, one.step, one.told)
                for one in again
                if one.name not in missing
            ]
        for one in kept:
            if not one.there:
                records.put_back(one.way, one.part, one.name, one.record, places)
            journal.state(one.part, one.name, done=True)
            step = Step.NOTHING if one.there else Step.CREATE
            restored.append(RestoredPart(one.part, one.name, step))
    return Restored(tuple(restored), saved, tuple(journal.notes), failed)


def _layer(backup: Backup, part: Part, store: FolderStore) -> Iterable[bytes]:
    if part.file is None:
        raise _damaged(backup, SafedockerError(f"{part.name} has no file"))
    return store.open(backup.id, part.file.name)


def _head(backup: Backup, part: Part, store: FolderStore) -> layers.Head:
    """What a container's file says of it; the file was read to its end just before."""
    return layers.head_in(_layer(backup, part, store))


def _record(
    backup: Backup, way: RecordWay, part: Part, name: str, places: Places, store: FolderStore
) -> _Record:
    """A part's record, checked, under its name; and whether that stands there already."""
    if part.file is None:
        raise SafedockerError(
            f"the backup {backup.id} has no record of the {part.kind.value} {part.name}: nothing "
            "was changed",
            "put the rest back: --volume names what",
        )
    try:
        record = records.read_back(store.open(backup.id, part.file.name), part.file)
    except OSError as fault:
        raise _unreadable(backup, part.file.name, fault) from fault
    except SafedockerError as fault:
        raise _damaged(backup, fault) from fault
    record = records.named(way, record, name)
    return _Record(way, part, name, record, records.is_there(way, part, name, record, places))


def _save(
    targets: Iterable[Target],
    engine: Engine,
    store: FolderStore,
    occasion: Occasion,
    progress: Progress,
    now: datetime.datetime,
    reserve: int,
) -> Backup | None:
    """Back up what is about to be replaced."""
    replaced = tuple(
        _as_loss(one.part, one.present) for one in targets if one.replaces and one.present
    )
    if not replaced:
        return None
    return keep(replaced, Calm(), engine, store, occasion, progress, now, reserve)


def check_engine(backup: Backup, here: EngineIdentity) -> None:
    """Raise SafedockerError when a backup comes from another engine than this."""
    there = backup.engine
    if there is None:
        return
    # A proxy in front of the socket may hide the ID: then the address has to do.
    if (there.id or there.host) != (here.id or here.host):
        raise SafedockerError(
            f"the backup {backup.id} comes from the engine {there.name} at {there.host}, and this "
            f"is {here.name} at {here.host}: nothing was changed",
            "name the engine it comes from, or say --any-engine to put it here",
        )


def _with_saved(fault: SafedockerError, saved: Backup | None) -> SafedockerError:
    if saved is not None:
        fault.hint = f"{fault.hint}; what was there is in the backup {saved.id}".removeprefix("; ")
    return fault


def _select(backup: Backup, only: Sequence[str]) -> tuple[Part, ...]:
    held = {part.name: part for part in backup.parts}
    for name in only:
        if name not in held:
            raise SafedockerError(
                f"the backup {backup.id} does not hold a volume {name!r}",
                f"it holds: {', '.join(held)}",
            )
    return tuple(part for part in backup.parts if not only or part.name in only)


def _names(backup: Backup, parts: Iterable[Part], rename: dict[str, str]) -> dict[str, str]:
    names = {part.name: rename.pop(part.name, part.name) for part in parts}
    for name in rename:
        raise SafedockerError(
            f"{name!r} is not among what is to be put back from {backup.id}",
            f"those are: {', '.join(names)}",
        )
    if len(set(names.values())) < len(names):
        raise SafedockerError("two parts can't be put back under one name", "name them apart")
    return names


def _check_part(backup: Backup, part: Part, store: FolderStore, progress: Progress) -> None:
    if part.kind is Kind.LAYER and part.way != layers.WAY:
        raise ways.unknown(part.way)
    if part.kind.is_volume:
        ways.by_name(part.way)
    if part.way == ways.DUMP_ONLY:
        raise SafedockerError(
            f"the backup {backup.id} holds a dump of {part.content} alone, which no volume is made "
            "of: nothing was changed",
            f"feed it into a server: safedocker undo {backup.id} --dump-into CONTAINER",
        )
    if part.file is None:
        return
    try:
        if part.kind.is_volume:
            # What it unpacks to was compared when it was written; these are the same bytes.
            pieces, total = store.open(backup.id, part.file.name), part.file.bytes
            check_unchanged(
                pieces, part.file, lambda done: progress(Stage.CHECK, part.name, done, total)
            )
        else:
            read_part(backup, part, store, progress)
    except OSError as fault:
        raise _unreadable(backup, part.file.name, fault) from fault
    except SafedockerError as fault:
        raise _damaged(backup, fault) from fault


def _check_aside(
    backup: Backup,
    parts: Iterable[Part],
    names: Mapping[str, str],
    engine: Engine,
    journal: Journal,
) -> dict[str, str]:
    """What was moved aside has to stand there, and goes back on its own engine alone; return what
    an earlier undo put into a volume of another name, with that."""
    elsewhere = {}
    for part in parts:
        if part.aside is None:
            continue
        if backup.engine is not None and backup.engine.id != engine.identity.id:
            raise SafedockerError(
                f"what was in the volume {part.name} stands aside on the engine "
                f"{backup.engine.name}, and goes back on that one alone: nothing was changed",
                "put it back there first; then it can be carried to another",
            )
        name = aside.other_name(engine, journal.other_names(part), part.aside)
        if name is None or name == names[part.name]:
            try:
                aside.check(engine, names[part.name], part.aside)
            except SafedockerError as fault:
                raise _lost(part, fault, journal) from fault
        elif names[part.name] != part.name:
            raise SafedockerError(
                f"what was moved aside from the volume {part.name} was put back as {name}: nothing "
                "was changed",
                f"copy that: safedocker clone {name} {names[part.name]}",
            )
        else:
            elsewhere[part.name] = name
    return elsewhere


def _lost(part: Part, fault: SafedockerError, journal: Journal) -> SafedockerError:
    """Say where it was put, if it was, and that it stands in nobody's way."""
    others = ", ".join(journal.other_names(part))
    put = f": it was put back as {others}, which does not hold it any more" if others else ""
    rest = "put the rest back: --volume names what"
    return SafedockerError(fault.message + put, f"{fault.hint}; {rest}")


def _unreadable(backup: Backup, file: str, fault: OSError) -> SafedockerError:
    return SafedockerError(
        f"{file} of the backup {backup.id} can't be read ({fault.strerror}): nothing was changed",
        "put it back from a copy of the backup's folder, or undo the other volumes: --volume",
    )


def _damaged(backup: Backup, fault: SafedockerError) -> SafedockerError:
    reason = fault.message.removesuffix(".")
    return SafedockerError(
        f"the backup {backup.id} is damaged: {reason}: nothing was changed",
        "put it back from a copy of the backup's folder, or undo the other volumes: --volume",
    )


def _as_loss(part: Part, present: Volume) -> Loss:
    """The volume that stands in a part's place, as something to be backed up."""
    return Loss(
        kind=part.kind,
        name=present.name,
        volume=present,
        why=f"replaced by the volume {part.name} of a backup",
        project=present.project,
        holds=Holds.ELSEWHERE if present.elsewhere else Holds.DATA,
    )
