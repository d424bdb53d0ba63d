"""One volume that a backup puts back: what stands in its place, what is to be done about it, and
doing it. Which volumes, and in which order, is undo.py's; how contents are written ways.py's."""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from safedocker.backup import aside, contents, ways
from safedocker.backup.contents import Written
from safedocker.backup.digests import Known
from safedocker.backup.inventory import Inventory, difference
from safedocker.backup.manifest import Backup, Part
from safedocker.backup.stillness import users
from safedocker.backup.store import FolderStore, Restore
from safedocker.backup.take import Progress, Stage
from safedocker.backup.ways import Engine
from safedocker.errors import SafedockerError
from safedocker.loss.facts import Bytes, Container, Volume


class Step(enum.Enum):
    """What has to be done to a volume, or to what is kept as a record."""

    CREATE = "created"
    FILL = "filled"  # there, empty, and defined as it was
    RECREATE = "made anew"  # there and empty, but defined otherwise
    REPLACE = "replaced"  # its present contents are backed up first
    NOTHING = "already there"  # contents and definition are the backup's


@dataclass(frozen=True)
class Target:
    """A volume to be filled, and what stands in its place now."""

    part: Part
    name: str
    present: Volume | None
    step: Step


class Journal:
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


def find_target(
    backup: Backup,
    part: Part,
    name: str,
    engine: Engine,
    containers: Iterable[Container],
    journal: Journal,
    overwrite: bool,
) -> Target:
    """Decide what is to be done to one volume. Raise SafedockerError when it can't be put back."""
    present = engine.volume(name)
    if present is None:
        return Target(part, name, None, Step.CREATE)
    mounting = users(name, containers)
    running = [one.name for one in mounting if one.running]
    if running:
        raise SafedockerError(
            f"the volume {name} is in use by {', '.join(running)}: nothing was changed",
            f"stop it first: docker stop {' '.join(running)}",
        )
    same = _same_definition(part, present)
    if part.aside is not None:
        at = aside.stands(engine, name, part.aside)
        if same and at.volume == part.aside.inode:
            return Target(part, name, present, Step.NOTHING)
        if same and not at.volume:  # an undo was killed between its two steps
            return Target(part, name, present, Step.FILL)
    found = None if present.elsewhere else contents.inspect(engine, name, lambda _done: None)
    if same and (found == part.inventory if found else part.inventory is None):
        return Target(part, name, present, Step.NOTHING)
    empty = found is not None and found.entries == 1
    if empty and same:
        return Target(part, name, present, Step.FILL)
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
    return Target(part, name, present, Step.RECREATE if empty else Step.REPLACE)


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


def restore(
    target: Target,
    backup: Backup,
    engine: Engine,
    store: FolderStore,
    journal: Journal,
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
    with contextlib.ExitStack() as failed:
        if made:
            failed.callback(_remove, engine, target.name)
        copied = target.part.file is not None
        # Asked for once: a container that holds the volume takes its time.
        with engine.folder(target.name) if copied else contextlib.nullcontext():
            written = _write(target, backup, engine, store, progress)
            failed.pop_all()
            if not written.whole:
                journal.notes.append(
                    f"{target.name}: the engine wrote it, which fills the holes of sparse files"
                )
            journal.notes += _compare(target, written.known, backup, engine, progress)
    journal.write(target.name, done=True)


def _remove(engine: Engine, volume: str) -> None:
    with contextlib.suppress(SafedockerError, OSError):
        engine.remove_volume(volume)


def _definition(target: Target) -> Volume:
    part = target.part
    return Volume(target.name, part.driver, part.options, part.labels, created_at="")


def _write(
    target: Target, backup: Backup, engine: Engine, store: FolderStore, progress: Progress
) -> Written:
    """Put the contents back."""
    part = target.part
    total = part.inventory.bytes if part.inventory else 0
    try:
        return ways.by_name(part.way).put_back(
            engine,
            target.name,
            part,
            store.open(backup.id, part.file.name) if part.file else (),
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


def _compare(
    target: Target, known: Known, backup: Backup, engine: Engine, progress: Progress
) -> Iterator[str]:
    """Compare what was written with what the backup holds. What is told beside the contents is put
    back as far as it can be; say how far. Raise SafedockerError when the contents differ."""
    expected, fine = target.part.inventory, target.part.fine_sha256
    if expected is None:
        return
    total = expected.bytes

    def meter(done: int) -> None:
        progress(Stage.COMPARE, target.name, done, total)

    if fine:
        images = [use.image for use in target.part.used_by]
        found, told = contents.inspect_finely(engine, target.name, images, meter, known)
    else:
        found, told = contents.inspect(engine, target.name, meter, known), ""
    if differs := difference(expected, found):
        raise SafedockerError(
            f"the volume {target.name} was written, but does not hold what the backup holds: "
            f"{differs}",
            f"the backup is whole; type it again: safedocker undo {backup.id}",
        )
    what = "extended attributes, access control lists and whole times"
    if told is None:
        yield f"{target.name}: {what} were put back, but not compared: no GNU tar is at hand"
    elif told != fine:
        yield f"{target.name}: contents compare equal, but not all {what} could be put back"
