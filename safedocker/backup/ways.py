"""The ways to protect a volume, as a table: which losses a way fits, how it takes and puts back,
and what it does not keep. When a backup may be taken is take.py's."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

from safedocker.backup import aside
from safedocker.backup.aside import Mover, Place
from safedocker.backup.contents import (
    BY_ENGINE,
    Meter,
    Source,
    Volumes,
    Written,
    check_reach,
    check_written,
    read,
    read_by,
    write,
)
from safedocker.backup.inventory import BadArchive, Inventory, TreeReader
from safedocker.backup.manifest import CrossCheck, Part, Stored
from safedocker.backup.store import Draft
from safedocker.backup.zst import ahead, pack, unpack
from safedocker.errors import NoBackup, SafedockerError
from safedocker.loss.facts import HELPER, Bytes, Container, EngineIdentity, Holds, Volume
from safedocker.loss.plan import Kind, Loss, Protect

COUNT_SECONDS = 20.0  # how long the engine may count what the volumes hold
_UNREAD = (
    "the engine's log may name files that it can't read; to have all moved aside instead: "
    "SAFEDOCKER_PROTECT=move"
)
_COPIED_A_SECOND = 200_000_000  # bytes, packed and read back; `make bench` measures it


class Stopped(Protocol):
    """How the stopping of one container went, or its pausing."""

    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def exit_code(self) -> int: ...
    @property
    def clean(self) -> bool: ...
    @property
    def paused(self) -> bool: ...


class Execution(Protocol):
    """A program that runs in a container: iterate over its stdout, then it has ended."""

    def __iter__(self) -> Iterator[bytes]: ...
    @property
    def exit_code(self) -> int: ...
    @property
    def said(self) -> str: ...


class Maker(Protocol):
    """Makes containers again; edge/container.py has it."""

    def make(
        self,
        name: str,
        definition: Mapping[str, Any],
        digest: str,
        size: int,
        layer: Iterable[bytes],
        /,
    ) -> str: ...
    def join(self, id_: str, name: str, definition: Mapping[str, Any], /) -> tuple[str, ...]: ...
    def top_layer(self, image: str, /) -> str: ...


class Engine(Volumes, Protocol):
    """What the backup needs of an engine; edge/engine.py has it. Each raises NoEngine."""

    @property
    def identity(self) -> EngineIdentity: ...
    def volume(self, name: str, /) -> Volume | None: ...
    def snapshot(self) -> tuple[Mapping[str, Volume], tuple[Container, ...]]: ...
    def inspect(self, container: Container, /) -> Container: ...
    def read_aside(self, path: str, /) -> AbstractContextManager[Iterator[bytes]]: ...
    def create_volume(self, volume: Volume, /) -> None: ...
    def remove_volume(self, name: str, /) -> None: ...
    def sizes(self, names: tuple[str, ...], seconds: float, /) -> Mapping[str, int]: ...
    def counts(self, names: tuple[str, ...], seconds: float, /) -> Mapping[str, int | None]: ...
    def read_config(self, id_: str, /) -> bytes | None: ...
    def definition(self, id_: str, /) -> dict[str, Any]: ...
    def read_layer(
        self, id_: str, /
    ) -> AbstractContextManager[tuple[str, int, Iterator[bytes]]]: ...
    def create_config(self, record: bytes, /) -> None: ...
    def execute(
        self,
        container: str,
        argv: Sequence[str],
        env: Mapping[str, str],
        stdin: Iterable[bytes] | None,
        silence: float,
        /,
    ) -> AbstractContextManager[Execution]: ...
    def stop(self, ids: tuple[str, ...], /) -> tuple[Stopped, ...]: ...
    def pause(self, ids: tuple[str, ...], /) -> tuple[Stopped, ...]: ...
    def start(self, ids: tuple[str, ...], /) -> None: ...
    @property
    def mover(self) -> Mover: ...
    @property
    def maker(self) -> Maker: ...


@dataclass(frozen=True)
class Kept:
    """What a way put into the store, and what it saw in the volume while doing so."""

    file: Stored | None
    inventory: Inventory | None
    place: Place | None = None
    fine: str = ""  # Tree.fine, where it could be told
    not_kept: tuple[str, ...] = ()


class Meters(NamedTuple):
    """Told how far a way has come. `checked` is called from another thread, when all is copied."""

    copied: Meter
    checked: Callable[[int, int], None]  # bytes of tar stream, of how many


@dataclass(frozen=True)
class Wish:
    """What decides between the ways that fit: what was asked for, up to how many bytes `auto`
    archives, whether whoever may write has ended (what is only paused goes on writing), up to how
    many bytes of a volume the database that runs with it is dumped besides, None for all, and
    whether a program in one of the volume's own images may read it."""

    protect: Protect = Protect.ARCHIVE
    archive_up_to: int = 0
    ended: bool = True
    dump_up_to: int | None = 0
    fine: bool = False


@dataclass(frozen=True)
class Way:
    """One way to protect. `take` writes into a draft under a stem; `put_back` fills a volume that
    is there, from what the part tells and the pieces of its file. `not_kept` is for what says
    nothing better of it itself."""

    name: str
    fits: Callable[[Loss, Wish], bool]
    take: Callable[[Engine, Loss, Draft, str, Meters], Kept]
    put_back: Callable[[Engine, str, Part, Iterable[bytes], Meter], Written]
    not_kept: tuple[str, ...]
    stores: bool = True  # does it need room in the store?


def choose(loss: Loss, wish: Wish) -> Way:
    """Return the first row that fits."""
    return next(way for way in WAYS if way.fits(loss, wish))


@dataclass(frozen=True)
class Offer:
    """What one way to back up all of it comes to, before it is done."""

    protect: Protect
    moved: tuple[Loss, ...]
    copied: tuple[Loss, ...]

    @property
    def size(self) -> int | None:
        """Bytes to be copied, before they are packed; None: not known."""
        sizes = [loss.size for loss in self.copied]
        known = [size for size in sizes if size is not None]
        return sum(known) if len(known) == len(sizes) else None

    @property
    def seconds(self) -> float | None:
        """About how long it takes; None: not known."""
        return None if self.size is None else 1 + self.size / _COPIED_A_SECOND


ANY = Offer(Protect.AUTO, (), ())  # where nothing is said of how


def offers(losses: Sequence[Loss], wish: Wish) -> tuple[Offer, ...]:
    """The ways to back it up: as wished, and the other one where there is another."""
    told: list[Offer] = []
    for protect in (wish.protect, Protect.ARCHIVE, Protect.MOVE):
        chosen = [(loss, _way_of(loss, replace(wish, protect=protect))) for loss in losses]
        moved = tuple(loss for loss, way in chosen if way == "move")
        copied = tuple(loss for loss, way in chosen if way == "archive")
        if (moved, copied) not in [(one.moved, one.copied) for one in told]:
            told.append(Offer(protect, moved, copied))
    return tuple(told[:2])


def _way_of(loss: Loss, wish: Wish) -> str:
    """The name of a loss's way; what is no volume, and no record, is copied."""
    if loss.kind.is_volume:
        return choose(loss, wish).name
    return "archive" if loss.kind is Kind.LAYER else "record"


def by_name(name: str) -> Way:
    """Return the row of that name. Raise SafedockerError when a newer safedocker had it."""
    for way in WAYS:
        if way.name == name:
            return way
    raise unknown(name)


def unknown(name: str) -> SafedockerError:
    """The fault of a part that was kept in a way of a newer safedocker."""
    return SafedockerError(f"this safedocker does not know the way {name!r}", "update safedocker")


def cross_check(
    engine: Engine | None, held: Mapping[str, Inventory], exact: Set[str]
) -> dict[str, CrossCheck]:
    """Compare what was read of volumes, by name, with the engine's own count: it leaves files that
    it can't read out of an archive, without a word. Raise NoBackup when it counts more, or can't
    count because it may not look: what the host's root puts into a rootless engine's volume is
    closed to it. Whoever read those that are `exact` would have failed there.

    Source: moby pkg/archive, TarWithOptions "Can't add file".
    """
    checks = dict.fromkeys(held, CrossCheck.UNKNOWN)
    for last in (False, True):
        counted = engine.counts(tuple(held), COUNT_SECONDS) if held and engine else {}
        for name, inventory in held.items():
            want, have = counted.get(name), inventory.engine_bytes
            if want is None:
                checks[name] = CrossCheck.UNKNOWN
                closed = name in counted and name not in exact
                if closed and engine and _is_the_engines(engine.volume(name)):
                    raise NoBackup(
                        f"the engine could not look through all of {name}, and may have left out "
                        "what it can't read: nothing was removed",
                        _UNREAD,
                    )
            elif want == have:
                checks[name] = CrossCheck.EQUAL
            elif want < have:
                checks[name] = CrossCheck.MORE
            elif last:
                raise NoBackup(
                    f"the engine counts {Bytes(want)} ({want} bytes) in {name}, but gave only "
                    f"{have} bytes of it: nothing was removed",
                    _UNREAD,
                )
            else:
                break  # a count that was under way before the stop is shared: ask once more
        else:
            break
    return checks


def _is_the_engines(volume: Volume | None) -> bool:
    """Does it lie in the engine's own data directory? Of others it counts none."""
    return volume is not None and volume.data_directory is not None


def _take_archive(engine: Engine, loss: Loss, draft: Draft, stem: str, meters: Meters) -> Kept:
    with engine.read_volume(loss.name) as stream:
        return _keep(Source(stream, False, BY_ENGINE), draft, stem, meters)


def _take_tar(engine: Engine, loss: Loss, draft: Draft, stem: str, meters: Meters) -> Kept:
    images = images_of(engine, loss.name)
    with read(engine, loss.name, images, finely=True) as source:
        return _keep(source, draft, stem, meters)


def _keep(source: Source, draft: Draft, stem: str, meters: Meters) -> Kept:
    """Pack a stream into the store, where it is unpacked again meanwhile."""
    name = f"{stem}.tar.zst"
    reader = TreeReader(fine=source.fine)
    digest = hashlib.sha256()
    sent, written = 0, 0
    whole = False

    def pieces() -> Iterator[bytes]:
        nonlocal sent, written, whole

        def seen(done: int) -> None:
            nonlocal sent
            sent = done
            meters.copied(done)

        for piece in pack(read_by(reader, source.pieces, seen), digest.update):
            written += len(piece)
            yield piece
        whole = True

    def checked(done: int) -> None:
        if whole:  # until then it is the copying that is told
            meters.checked(done, sent)

    def told() -> tuple[Stored, int]:
        return Stored(name, written, digest.hexdigest()), sent

    draft.put(name, pieces(), lambda stored: check_written(stored, told, checked))
    try:
        held = reader.finish()
    except BadArchive as fault:
        raise NoBackup(
            f"the backup failed: {fault.message}: nothing was removed", _UNREAD
        ) from fault
    check_reach(source, reader)
    fine = reader.fine() if source.fine else ""
    return Kept(told()[0], held, fine=fine, not_kept=source.left_out())


def images_of(engine: Engine, volume: str) -> tuple[str, ...]:
    """The images of the containers that have a volume."""
    _volumes, containers = engine.snapshot()
    having = (
        one
        for one in containers
        if HELPER not in one.labels and any(mount.volume == volume for mount in one.mounts)
    )
    return tuple(dict.fromkeys(one.image for one in having))


def _put_back_tar(
    engine: Engine, volume: str, _part: Part, pieces: Iterable[bytes], meter: Meter
) -> Written:
    return write(engine, volume, ahead(unpack(pieces)), meter, fine=True)


def _put_back_archive(
    engine: Engine, volume: str, _part: Part, pieces: Iterable[bytes], meter: Meter
) -> Written:
    return write(engine, volume, ahead(unpack(pieces)), meter, fine=False)


def _take_definition(
    _engine: Engine, _loss: Loss, _draft: Draft, _stem: str, _meters: Meters
) -> Kept:
    return Kept(None, None)


def _put_back_definition(
    _engine: Engine, _volume: str, _part: Part, _pieces: Iterable[bytes], _meter: Meter
) -> Written:
    return Written(True)


def _can_move(loss: Loss, wish: Wish) -> bool:
    if wish.protect is Protect.ARCHIVE or not wish.ended or loss.in_memory:
        return False
    if loss.volume is None or loss.volume.data_directory is None or loss.holds is Holds.EMPTY:
        return False
    small = loss.size is not None and loss.size <= wish.archive_up_to
    return wish.protect is Protect.MOVE or not small


def _take_place(engine: Engine, loss: Loss, draft: Draft, stem: str, _meters: Meters) -> Kept:
    volume = engine.volume(loss.name)
    if volume is None:
        raise NoBackup(f"the volume {loss.name} is gone meanwhile")
    images = [one.image for one in engine.snapshot()[1] if one.name in loss.used_by]
    number = stem.rpartition("-")[2]
    folder = f"{draft.id}/{number}"
    return Kept(None, None, aside.prepare(engine, volume, folder, images))


def _put_back_place(
    engine: Engine, volume: str, part: Part, _pieces: Iterable[bytes], _meter: Meter
) -> Written:
    if part.aside is not None:
        aside.give_back(engine, volume, part.aside)
    return Written(True)


def _put_back_dump(
    _engine: Engine, volume: str, _part: Part, _pieces: Iterable[bytes], _meter: Meter
) -> Written:
    raise SafedockerError(
        f"of the volume {volume} there is a dump alone", "feed it into a server: --dump-into"
    )


DUMP_ONLY = "dump"  # a database that was fed another dump: only its dump was kept

WAYS = (
    Way(
        DUMP_ONLY,
        lambda _loss, _wish: False,  # beside a copy, never instead of one: dumping.py
        _take_definition,
        _put_back_dump,
        (),
    ),
    Way(
        "definition",
        lambda loss, _wish: loss.holds is Holds.ELSEWHERE,
        _take_definition,
        _put_back_definition,
        ("the data, which lies elsewhere and is not removed with the volume",),
        stores=False,
    ),
    Way(
        "move",
        _can_move,
        _take_place,
        _put_back_place,
        (),
        stores=False,
    ),
    Way(
        "tar",
        lambda _loss, wish: wish.fine,
        _take_tar,
        _put_back_tar,
        (),
    ),
    Way(
        "archive",
        lambda _loss, _wish: True,
        _take_archive,
        _put_back_archive,
        (),
    ),
)
