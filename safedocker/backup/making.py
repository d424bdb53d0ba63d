"""Makes a volume, fills it from a stream, compares, and takes it away again where that fails: for
what fills a volume on an ordinary day. What a backup puts back is refill.py's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from safedocker.backup import contents
from safedocker.backup.contents import Source, Written
from safedocker.backup.inventory import Inventory, TreeReader, difference
from safedocker.backup.store import Draft
from safedocker.backup.take import Progress, Stage
from safedocker.backup.ways import Engine
from safedocker.errors import SafedockerError
from safedocker.loss.facts import Volume

_FINE = "extended attributes, access control lists and whole times"


@dataclass(frozen=True)
class Filled:
    """What a volume holds now. `notes` are sentences for the person: what did not come along.
    `exact`: whoever read the source would have failed at what it can't read."""

    held: Inventory
    notes: tuple[str, ...]
    exact: bool


def create(target: Volume, engine: Engine) -> None:
    """Make a volume as it is defined. Raise SafedockerError when its name is taken, or the driver
    makes it otherwise."""
    engine.create_volume(target)
    made = engine.volume(target.name)
    # `volume create` of a name that exists changes nothing and reports success.
    if made is None or not same_definition(made, target):
        raise SafedockerError(
            f"the engine did not make the volume {target.name} as it was to be defined",
            f"see how it stands now: docker volume inspect {target.name}",
        )


def same_definition(one: Volume, other: Volume) -> bool:
    """Are driver, options and labels the same?"""
    return (one.driver, dict(one.options), dict(one.labels)) == (
        other.driver,
        dict(other.options),
        dict(other.labels),
    )


def fill(
    target: Volume,
    stream: AbstractContextManager[Source],
    engine: Engine,
    draft: Draft,
    progress: Progress,
    *,
    total: int | None,
    new: bool,
    images: Sequence[str] = (),
) -> Filled:
    """Fill a volume that is empty, or, when it is `new`, is to be made; return what it holds.

    `total` is the bytes expected. It is read again and compared, what is beside the contents too
    where that can be told: one of the `images` may be needed for it. Where anything fails a new one
    is removed again. Raise SafedockerError.
    """
    draft.note_making(engine.identity.name, target.name)
    if new:
        create(target, engine)

    def report(stage: Stage, done: int) -> None:
        progress(stage, target.name, done, total)

    try:
        if new:
            _check_empty(target, engine)
        # Asked for once: a container that holds the volume takes its time.
        with engine.folder(target.name), stream as source:
            reader = TreeReader(fine=True)
            pieces = contents.read_by(reader, source.pieces, lambda done: report(Stage.COPY, done))
            made = contents.write(engine, target.name, pieces, lambda _done: None, fine=source.fine)
            written = reader.finish()
            contents.check_reach(source, reader)
            found, fine = contents.inspect_finely(
                engine,
                target.name,
                images,
                written,
                lambda done: report(Stage.COMPARE, done),
                made.known,
            )
        if differs := difference(written, found):
            raise SafedockerError(
                f"the volume {target.name} was written, but does not hold what was sent: {differs}"
            )
    except _HoldsData:
        raise
    except BaseException as fault:
        if new:
            with contextlib.suppress(SafedockerError):
                engine.remove_volume(target.name)
        if isinstance(fault, OSError):  # of the volume's own folder
            raise SafedockerError(
                f"the volume {target.name} can't be written: {fault.strerror or fault}"
            ) from fault
        raise
    draft.note_making(engine.identity.name, "")
    return Filled(written, tuple(_notes(source, made, fine, reader.fine())), source.fine)


def _notes(source: Source, made: Written, fine: str | None, told: str) -> Iterator[str]:
    """What the volume has not, of all that there was: `fine` what it has, `told` what it was to."""
    if not source.fine and source.not_kept:
        yield f"not copied, as it can't be read here: {', '.join(source.not_kept)}"
    if flags := source.flags.told():
        yield f"not copied: {', '.join(flags)}"
    if source.fine and not made.whole:
        yield "the engine wrote it, which fills the holes of sparse files"
    if fine is None and source.fine:
        yield f"{_FINE} were written, but not compared: no GNU tar is at hand"
    elif fine is not None and fine != told:
        yield f"contents compare equal, but not all {_FINE} could be written"


class _HoldsData(SafedockerError):  # noqa: N818 - named for what it is, as errors.py does
    """A volume that was just made holds data: not ours to remove."""


def _check_empty(target: Volume, engine: Engine) -> None:
    """Of options that name a share or a disk a second volume is the same data once more."""
    if contents.inspect(engine, target.name, lambda _done: None).entries > 1:
        raise _HoldsData(
            f"the volume {target.name} held data as soon as it was made: its driver gave it what "
            "another volume has. Nothing was written to it",
            f"see what its options mean: docker volume inspect {target.name}",
        )
