"""Puts a backup back: every check for every part first, then write, read back and compare.

An undo that was killed can be run again: the restore journal tells its own half-written volume
from a stranger's. How contents are written is ways.py's.
"""

from __future__ import annotations

import contextlib
import datetime
import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from safedocker.backup import layers, records, ways
from safedocker.backup.inventory import Inventory, difference
from safedocker.backup.manifest import Backup, Part
from safedocker.backup.records import OpenContexts, Places, RecordWay
from safedocker.backup.store import FolderStore, Restore
from safedocker.backup.take import RESERVE, Calm, Occasion, Progress, Stage, keep, users
from safedocker.backup.ways import Engine
from safedocker.errors import SafedockerError
from safedocker.loss.facts import Bytes, Container, EngineIdentity, Holds, Volume
from safedocker.loss.plan import Kind, Loss


class Step(enum.Enum):
    """What has to be done to a volume, or to what is kept as a record."""

    CREATE = "created"
    FILL = "filled"  # there, empty, and defined as it was
    RECREATE = "made anew"  # there and empty, but defined otherwise
    REPLACE = "replaced"  # its present contents are backed up first
    NOTHING = "already there"  # contents and definition are the backup's


@dataclass(frozen=True)
class RestoredPart:
    """One part that is again as the backup holds it."""

    part: Part
    name: str  # other than the part's when it was renamed
    step: Step


@dataclass(frozen=True)
class Restored:
    """What an undo did. `saved` holds what was replaced; `notes` are sentences for the person."""

    parts: tuple[RestoredPart, ...]
    saved: Backup | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Record:
    """A thing to be made again of its record, under a name; or that stands there already."""

    way: RecordWay
    part: Part
    name: str
    record: bytes
    there: bool


@dataclass(frozen=True)
class _Target:
    """A volume to be filled, and what stands in its place now."""

    part: Part
    name: str
    present: Volume | None
    step: Step


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
        _check_engine(backup, engine.identity)
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
        journal = _Journal(store, backup.id, engine.identity.id if engine else "")
        restored: list[RestoredPart] = []
        saved = None
        whole = [part for part in parts if part.kind is Kind.LAYER]
        if volumes or whole:
            if engine is None:
                raise SafedockerError("they go onto an engine", "name one with --host")
            for part in (*volumes, *whole):
                _check_part(backup, part, store, progress)
            _volumes, containers = engine.snapshot()
            back = {part.name: _is_back(part, names, containers, journal) for part in whole}
            occasion = Occasion(tuple(argv), cwd, caller, "undo", backup.project)
            targets = [
                _target(backup, part, names[part.name], engine, containers, journal, overwrite)
                for part in volumes
            ]
            saved = _save(targets, engine, store, occasion, progress, now, reserve)
            for target in targets:
                try:
                    _restore(target, backup, engine, store, journal, progress)
                except SafedockerError as fault:
                    raise _with_saved(fault, saved) from fault
                restored.append(RestoredPart(target.part, target.name, target.step))
            for part in whole:
                if not back[part.name]:
                    _put_back_container(part, names[part.name], backup, engine, store, journal)
                step = Step.NOTHING if back[part.name] else Step.CREATE
                restored.append(RestoredPart(part, names[part.name], step))
        for one in kept:
            if not one.there:
                records.put_back(one.way, one.part, one.name, one.record, places)
            journal.write(_entry(one.part, one.name), done=True)
            step = Step.NOTHING if one.there else Step.CREATE
            restored.append(RestoredPart(one.part, one.name, step))
    return Restored(tuple(restored), saved, tuple(journal.notes))


def _is_back(
    part: Part, names: Mapping[str, str], containers: Iterable[Container], journal: _Journal
) -> bool:
    name = names[part.name]
    return layers.is_there(name, containers, ours=journal.knows(_entry(part, name)))


def _entry(part: Part, name: str) -> str:
    """How the journal calls what is no volume."""
    return f"{part.kind.value} {name}"


def _put_back_container(
    part: Part,
    name: str,
    backup: Backup,
    engine: Engine,
    store: FolderStore,
    journal: _Journal,
) -> None:
    if part.file is None:
        raise _damaged(backup, SafedockerError(f"{part.name} has no file"))
    file = part.file.name
    journal.write(_entry(part, name), done=False)
    journal.notes += layers.put_back(name, lambda: store.open(backup.id, file), engine)
    journal.write(_entry(part, name), done=True)


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
    targets: Iterable[_Target],
    engine: Engine,
    store: FolderStore,
    occasion: Occasion,
    progress: Progress,
    now: datetime.datetime,
    reserve: int,
) -> Backup | None:
    """Back up what is about to be replaced."""
    replaced = tuple(
        _as_loss(one.part, one.present)
        for one in targets
        if one.step is Step.REPLACE and one.present
    )
    if not replaced:
        return None
    return keep(replaced, Calm(), engine, store, occasion, progress, now, reserve)


def _check_engine(backup: Backup, here: EngineIdentity) -> None:
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


class _Journal:
    """The restore journal of a backup, for one engine."""

    def __init__(self, store: FolderStore, id_: str, engine: str) -> None:
        self._store = store
        self._id = id_
        self._engine = engine
        self._lines = {(one.engine, one.volume): one for one in store.restores(id_)}
        self.notes: list[str] = []

    def began(self, volume: str) -> bool:
        """Was an undo of this backup writing this volume when it ended?

        A namesake made since cannot be told from it; that is why it is backed up all the same.
        """
        line = self._lines.get((self._engine, volume))
        return line is not None and not line.done

    def knows(self, entry: str) -> bool:
        """Has an undo of this backup put it back, or been about to?"""
        return (self._engine, entry) in self._lines

    def write(self, volume: str, *, done: bool) -> None:
        """Put down a state. A store that can only be read is noted, and no reason to stop."""
        self._lines[self._engine, volume] = Restore(self._engine, volume, done)
        try:
            self._store.write_restores(self._id, self._lines.values())
        except OSError as fault:
            note = (
                f"the restore journal in {self._store.where} can't be written ({fault.strerror}): "
                "an undo that is killed will need --overwrite"
            )
            if note not in self.notes:
                self.notes.append(note)


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
    if part.file is None:
        return
    pieces = store.open(backup.id, part.file.name)
    try:
        if part.inventory is None:
            layers.check(part.file, pieces)
        else:
            total = part.inventory.bytes
            ways.read_back(
                pieces,
                part.file,
                part.inventory,
                lambda done: progress(Stage.CHECK, part.name, done, total),
            )
    except OSError as fault:
        raise _unreadable(backup, part.file.name, fault) from fault
    except SafedockerError as fault:
        raise _damaged(backup, fault) from fault


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


def _target(
    backup: Backup,
    part: Part,
    name: str,
    engine: Engine,
    containers: Iterable[Container],
    journal: _Journal,
    overwrite: bool,
) -> _Target:
    """Decide what is to be done to one volume. Raise SafedockerError when it can't be put back."""
    present = engine.volume(name)
    if present is None:
        return _Target(part, name, None, Step.CREATE)
    mounting = users(name, containers)
    running = [one.name for one in mounting if one.running]
    if running:
        raise SafedockerError(
            f"the volume {name} is in use by {', '.join(running)}: nothing was changed",
            f"stop it first: docker stop {' '.join(running)}",
        )
    same = _same_definition(part, present)
    found = None if present.elsewhere else ways.inspect(engine, name, lambda _done: None)
    if same and (found == part.inventory if found else part.inventory is None):
        return _Target(part, name, present, Step.NOTHING)
    empty = found is not None and found.entries == 1
    if empty and same:
        return _Target(part, name, present, Step.FILL)
    if not (empty or overwrite or journal.began(name)):
        raise SafedockerError(
            f"the volume {name} is there and {_holds(found, part)}: nothing was changed",
            f"put the backup beside it: safedocker undo {backup.id} --as NEW; or replace it, after "
            f"a backup of what it holds: safedocker undo {backup.id} --overwrite",
        )
    if mounting:
        names = [one.name for one in mounting]
        raise SafedockerError(
            f"the volume {name} has to be made anew, and belongs to the container "
            f"{', '.join(names)}: nothing was changed",
            f"remove the container first, its volumes stay: docker rm {' '.join(names)}",
        )
    return _Target(part, name, present, Step.RECREATE if empty else Step.REPLACE)


def _same_definition(part: Part, volume: Volume) -> bool:
    return (part.driver, dict(part.options), dict(part.labels)) == (
        volume.driver,
        dict(volume.options),
        dict(volume.labels),
    )


def _holds(found: Inventory | None, part: Part) -> str:
    if found is None:
        return "is defined otherwise than it was"
    if part.inventory is not None and found == part.inventory:
        return "holds the same data, but is defined otherwise than it was"
    return f"holds data ({Bytes(found.bytes)} in {found.files} files)"


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


def _restore(
    target: _Target,
    backup: Backup,
    engine: Engine,
    store: FolderStore,
    journal: _Journal,
    progress: Progress,
) -> None:
    """Do what was decided. A volume that was made here goes again when it can't be filled."""
    if target.step is Step.NOTHING:
        return
    made = target.step is not Step.FILL
    if made:
        if target.present:
            engine.remove_volume(target.name)
        engine.create_volume(_definition(target))
    volume = engine.volume(target.name)
    # `volume create` of a name that exists changes nothing and reports success.
    if volume is None or not _same_definition(target.part, volume):
        raise SafedockerError(
            f"the engine did not make the volume {target.name} as it was defined",
            f"see how it stands now: docker volume inspect {target.name}",
        )
    journal.write(target.name, done=False)
    try:
        _write(target, backup, engine, store, progress)
    except BaseException:
        if made:
            with contextlib.suppress(SafedockerError, OSError):
                engine.remove_volume(target.name)
        raise
    _compare(target, backup, engine, progress)
    journal.write(target.name, done=True)


def _definition(target: _Target) -> Volume:
    part = target.part
    return Volume(target.name, part.driver, part.options, part.labels, created_at="")


def _write(
    target: _Target, backup: Backup, engine: Engine, store: FolderStore, progress: Progress
) -> None:
    file, inventory = target.part.file, target.part.inventory
    if file is None or inventory is None:
        return
    total = inventory.bytes
    try:
        ways.by_name(target.part.way).put_back(
            engine,
            target.name,
            store.open(backup.id, file.name),
            lambda done: progress(Stage.WRITE, target.name, done, total),
        )
    except OSError as fault:
        raise SafedockerError(
            f"writing the volume {target.name} failed ({fault.strerror or fault})",
            f"the backup is whole; type it again: safedocker undo {backup.id}",
        ) from fault
    except SafedockerError as fault:
        raise SafedockerError(
            f"writing the volume {target.name} failed: {fault.message.removesuffix('.')}",
            f"the backup is whole; type it again: safedocker undo {backup.id}",
        ) from fault


def _compare(target: _Target, backup: Backup, engine: Engine, progress: Progress) -> None:
    expected = target.part.inventory
    if expected is None:
        return
    total = expected.bytes
    found = ways.inspect(
        engine, target.name, lambda done: progress(Stage.COMPARE, target.name, done, total)
    )
    if differs := difference(expected, found):
        raise SafedockerError(
            f"the volume {target.name} was written, but does not hold what the backup holds: "
            f"{differs}",
            f"the backup is whole; type it again: safedocker undo {backup.id}",
        )
