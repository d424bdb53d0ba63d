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
from safedocker.backup.restores import Journal
from safedocker.backup.stillness import users
from safedocker.backup.store import FolderStore
from safedocker.backup.take import Progress, Stage
from safedocker.backup.ways import Engine
from safedocker.backup.zst import ahead, unpack
from safedocker.errors import SafedockerError
from safedocker.loss.facts import Bytes, Container, Volume

_FINE = "extended attributes, access control lists and whole times"
_NO_TAR = "no GNU tar is at hand"
_CHANGED = "put back by an earlier undo, changed since"


class Step(enum.Enum):
    """What has to be done to a volume, or to what is kept as a record."""

    CREATE = "created"
    FILL = "filled"  # there, empty, and defined as it was
    RECREATE = "made anew"  # there and empty, but defined otherwise
    REPLACE = "replaced"  # its present contents are backed up first
    REFILL = "emptied and filled again"  # as REPLACE, but a container has it: it stays
    DRESS = "given its attributes again"  # as REPLACE, but the contents are the backup's
    NOTHING = "already there"  # contents and definition are the backup's


@dataclass(frozen=True)
class Target:
    """A volume to be filled, and what stands in its place now."""

    part: Part
    name: str
    present: Volume | None
    step: Step
    found: Inventory | None = None  # what `present` holds
    doubt: str = ""  # what of a volume that is already there was not compared
    told: str = ""  # what it is, where it does not compare equal and is left

    @property
    def replaces(self) -> bool:
        """Is something of what is there replaced, that has to be backed up before?"""
        return self.step in {Step.REPLACE, Step.REFILL, Step.DRESS}


def find_target(
    backup: Backup,
    part: Part,
    name: str,
    engine: Engine,
    containers: Iterable[Container],
    journal: Journal,
    *,
    overwrite: bool,
    go_on: bool,
) -> Target:
    """Decide what is to be done to one volume. Raise SafedockerError when it can't be put back.

    `go_on`: an earlier undo did not do all; what it did do counts, though it was changed since.
    """
    present = engine.volume(name)
    if present is None:
        return Target(part, name, None, Step.CREATE)
    mounting = users(name, containers)
    same = _same_definition(part, present)
    if part.aside is not None:
        at = aside.stands(engine, name, part.aside)
        if same and at.volume == part.aside.inode:
            return Target(part, name, present, Step.NOTHING)
        if same and not at.volume:  # an undo was killed between its two steps
            return Target(part, name, present, Step.FILL)
    ours = same and not overwrite and journal.filled(present, mounting)
    if not ours:
        _check_idle(name, mounting)
    found, fine = _look(part, present, engine)
    if same and (found == part.inventory if found else part.inventory is None):
        if fine is None:
            doubt = f"{_FINE} were not compared: {_NO_TAR}"
            return Target(part, name, present, Step.NOTHING, found, doubt)
        if fine == part.fine_sha256:
            return Target(part, name, present, Step.NOTHING, found)
        if not (ours and go_on):
            _check_idle(name, mounting)
            return Target(part, name, present, Step.DRESS, found)
    if ours and go_on:
        return Target(part, name, present, Step.NOTHING, found, told=_CHANGED)
    _check_idle(name, mounting)
    empty = found is not None and found.entries == 1
    if empty and same:
        return Target(part, name, present, Step.FILL, found)
    if not (empty or overwrite or journal.began(name)):
        raise SafedockerError(
            f"the volume {name} is there and {_holds(found, part)}: nothing was changed",
            f"put the backup beside it: safedocker undo {backup.id} --as NEW; or replace it, after "
            f"a backup of what it holds: safedocker undo {backup.id} --overwrite",
        )
    if mounting and same and journal.began(name):
        return Target(part, name, present, Step.REFILL, found)
    if mounting:
        names = [one.name for one in mounting]
        raise SafedockerError(
            f"the volume {name} has to be made anew, and belongs to the container "
            f"{', '.join(names)}: nothing was changed",
            f"remove the container first, its volumes stay: docker rm {' '.join(names)}",
        )
    return Target(part, name, present, Step.RECREATE if empty else Step.REPLACE, found)


def _look(part: Part, present: Volume, engine: Engine) -> tuple[Inventory | None, str | None]:
    """What is in a volume, None where that lies elsewhere; and what is beside the contents, as a
    part's `fine_sha256`, None where that can't be told."""
    if present.elsewhere:
        return None, part.fine_sha256
    if part.inventory is None or not part.fine_sha256:
        return contents.inspect(engine, present.name, _unseen), part.fine_sha256
    images = [use.image for use in part.used_by]
    return contents.inspect_finely(engine, present.name, images, part.inventory, _unseen)


def _unseen(_done: int) -> None:
    """Show no progress."""


def _check_idle(name: str, mounting: Iterable[Container]) -> None:
    running = [one.name for one in mounting if one.running]
    if running:
        raise SafedockerError(
            f"the volume {name} is in use by {', '.join(running)}: nothing was changed",
            f"stop it first: docker stop {' '.join(running)}",
        )


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
    saved: Backup | None,
) -> None:
    """Do what was decided; `saved` holds what is replaced. A volume that was made here goes again
    when it can't be filled."""
    if target.step is Step.NOTHING:
        if target.doubt:
            journal.notes.append(f"{target.name}: {target.doubt}")
        _is_back(target, target.present, journal)
        return
    _check_as_seen(target, engine, saved)
    made = target.step in {Step.CREATE, Step.RECREATE, Step.REPLACE}
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
    copied = target.part.file is not None
    # Asked for once: a container that holds the volume takes its time.
    with (
        contextlib.ExitStack() as failed,  # outermost: what is open can't be removed
        engine.folder(target.name) if copied else contextlib.nullcontext(),
    ):
        if made:
            if copied and contents.inspect(engine, target.name, _unseen).entries > 1:
                raise _changed(target.name)  # whoever made it, it was not us
            failed.callback(_remove, engine, target.name)
        journal.state(target.part, target.name, done=False)
        written = _write(target, backup, engine, store, progress)
        failed.pop_all()
        if not written.whole:
            journal.notes.append(
                f"{target.name}: the engine wrote it, which fills the holes of sparse files"
            )
        journal.notes += _compare(target, written.known, backup, engine, progress)
        lacks = ", ".join(target.part.not_kept)
        if copied and lacks and not target.part.fine_sha256:
            note = f"{target.name}: not in the backup, as it could not be read: {lacks}"
            journal.notes.append(note)
    _is_back(target, engine.volume(target.name), journal)


def _is_back(target: Target, volume: Volume | None, journal: Journal) -> None:
    if not (target.told and volume):  # what was changed since keeps the date it had
        made = volume.created_at if volume else ""
        journal.state(target.part, target.name, done=True, made=made)


def _check_as_seen(target: Target, engine: Engine, saved: Backup | None) -> None:
    """Raise SafedockerError when somebody made, changed or uses the volume since it was looked at:
    others of the same backup may have taken long."""
    present = engine.volume(target.name)
    if (present is None) != (target.present is None):
        raise _changed(target.name)
    if present is None:
        return
    _check_idle(target.name, users(target.name, engine.snapshot()[1]))
    if target.part.aside is not None and target.step is Step.FILL:
        return  # what stands where is seen to when it is moved
    kept = {part.name: part.inventory for part in saved.parts} if saved else {}
    held = kept.get(target.name) if target.replaces else target.found
    if not present.elsewhere and contents.inspect(engine, target.name, _unseen) != held:
        raise _changed(target.name)


def _changed(name: str) -> SafedockerError:
    return SafedockerError(
        f"the volume {name} was made or changed by somebody else meanwhile: it was left as it is",
        "see that nobody uses it, and type the command again",
    )


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

    def meter(done: int) -> None:
        progress(Stage.WRITE, target.name, done, total)

    def pieces() -> Iterable[bytes]:
        return store.open(backup.id, part.file.name) if part.file else ()

    try:
        if target.step is Step.DRESS:
            dressed = contents.dress(engine, target.name, ahead(unpack(pieces())), meter)
            if dressed is not None:
                return dressed
        if target.step is Step.REFILL:
            contents.clear(engine, target.name)
        return ways.by_name(part.way).put_back(engine, target.name, part, pieces(), meter)
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
        found, told = contents.inspect_finely(engine, target.name, images, expected, meter, known)
    else:
        found, told = contents.inspect(engine, target.name, meter, known), ""
    if differs := difference(expected, found):
        raise SafedockerError(
            f"the volume {target.name} was written, but does not hold what the backup holds: "
            f"{differs}",
            f"the backup is whole; type it again: safedocker undo {backup.id}",
        )
    if told is None:
        yield f"{target.name}: {_FINE} were put back, but not compared: {_NO_TAR}"
    elif told != fine:
        yield f"{target.name}: contents compare equal, but not all {_FINE} could be put back"
