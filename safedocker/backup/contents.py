"""What is in a volume, read, looked through and written by the best way there is: in its own
folder, by a GNU tar, or as the engine sends it. And what was packed of it, read again.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

import zstandard

from safedocker.backup import filling, folder, plain, walk
from safedocker.backup.digests import Known
from safedocker.backup.files import sync_disk
from safedocker.backup.flags import Flags
from safedocker.backup.inventory import TreeReader
from safedocker.backup.manifest import Stored
from safedocker.backup.tree import BadArchive, Inventory, Tree, difference
from safedocker.backup.zst import ahead, unpack, unpacked_sizes
from safedocker.errors import NoBackup, NoWayRound, SafedockerError

Meter = Callable[[int], None]  # told the bytes of tar stream done so far
Piece = bytes | memoryview  # one of memory is gone when the next is asked for
_Some = TypeVar("_Some", bytes, bytes | memoryview)


class Volumes(Protocol):
    """What this needs of an engine; edge/engine.py has it. Each raises NoBackup or NoEngine."""

    def folder(self, name: str, /) -> AbstractContextManager[int | None]: ...
    def mounted_in(self, name: str, /) -> bytes: ...
    def find_tar(self, images: tuple[str, ...], /) -> Any | None: ...
    def read_volume(self, name: str, /) -> AbstractContextManager[Iterator[bytes]]: ...
    def read_volume_with(
        self, tar: Any, name: str, /
    ) -> AbstractContextManager[Iterator[bytes]]: ...
    def write_volume(self, name: str, chunks: Iterable[bytes], /) -> None: ...


@dataclass(frozen=True)
class Source:
    """A volume's tar stream. `fine`: with whole times, all attributes and holes. `not_kept` is what
    such a stream leaves out of any volume."""

    pieces: Iterator[Piece]
    fine: bool
    not_kept: tuple[str, ...]
    flags: Flags = field(default_factory=Flags)

    def left_out(self) -> tuple[str, ...]:
        """What it left out of this volume, when all of it is read."""
        return self.not_kept + self.flags.told()


def of_folder(top: int) -> Source:
    """The stream of a volume's own folder, which is open."""
    flags = Flags()
    return Source(folder.read(top, flags), True, folder.NOT_KEPT, flags)


BY_TAR = ("sockets", "trusted. and security.selinux attributes", "file flags (chattr)")
# moby pkg/archive: tarAppender.addTarFile
BY_ENGINE = (
    "extended attributes other than security.capability",
    "access control lists",
    "fractions of a second in modification times, and times before 1970",
    "holes of sparse files (their zeros are kept)",
    "sockets",
    "file flags (chattr)",
)


@contextlib.contextmanager
def read(
    engine: Volumes, volume: str, images: Iterable[str], *, finely: bool = False
) -> Iterator[Source]:
    """Open a volume in its own folder, by a GNU tar of one of the `images`, which have had it
    anyway: no other is let see it; or as the engine sends it. Raise NoBackup where it is to be
    `finely` and can't be, NoWayRound where something else is mounted in it, which each of them
    would take for the volume's."""
    if place := engine.mounted_in(volume):
        raise walk.mounted(place)
    with engine.folder(volume) as own:
        if own is not None:
            yield of_folder(own)
            return
    tar = engine.find_tar(tuple(dict.fromkeys(images)))
    if tar is not None:
        with engine.read_volume_with(tar, volume) as stream:
            yield Source(stream, True, BY_TAR)
        return
    if finely:
        raise NoBackup(f"no image of the containers of {volume} has a GNU tar")
    with engine.read_volume(volume) as stream:
        yield Source(stream, False, BY_ENGINE)


@dataclass(frozen=True)
class Written:
    """How a volume was written: whether `whole`, all that was told of it and not only what the
    engine takes; and what is `known` of files that were read again meanwhile."""

    whole: bool
    known: Known = field(default_factory=dict)


def inspect(
    engine: Volumes, volume: str, meter: Meter, known: Known = MappingProxyType({})
) -> Inventory:
    """Say what a volume holds; `known` as Written's. Raise BadArchive when a stream of it is cut
    short, and what the engine raises."""
    found = _in_its_folder(engine, volume, meter, known)
    return found[0] if found else _as_sent(engine, volume, meter)


def inspect_finely(
    engine: Volumes,
    volume: str,
    images: Sequence[str],
    expected: Inventory,
    meter: Meter,
    known: Known = MappingProxyType({}),
) -> tuple[Inventory, str | None]:
    """As `inspect`, and Tree.fine of it; None where that can't be told, or where it holds something
    else than is `expected`."""
    if found := _in_its_folder(engine, volume, meter, known):
        return found
    held = _as_sent(engine, volume, meter)
    if held != expected:
        return held, None
    tar = engine.find_tar(tuple(dict.fromkeys(images)))
    if tar is None:
        return held, None
    reader = TreeReader(fine=True)
    try:
        with engine.read_volume_with(tar, volume) as stream:
            for piece in stream:
                reader.feed(piece)
        reader.finish()
    except SafedockerError:
        return held, None
    return held, reader.fine()


def _in_its_folder(
    engine: Volumes, volume: str, meter: Meter, known: Known
) -> tuple[Inventory, str] | None:
    with engine.folder(volume) as own:
        if own is not None:
            try:
                return folder.inspect(own, meter, known)
            except NoWayRound:
                raise
            except NoBackup:
                pass  # what can't be read so, the engine may read
    return None


def _as_sent(engine: Volumes, volume: str, meter: Meter) -> Inventory:
    reader = TreeReader()
    with engine.read_volume(volume) as stream:
        for _piece in read_by(reader, stream, meter):
            pass
    return reader.finish()


def write(
    engine: Volumes, volume: str, pieces: Iterable[Piece], meter: Meter, *, fine: bool
) -> Written:
    """Write a stream into a volume that holds nothing. `fine` as a Source's. Raise OSError and
    SafedockerError."""
    with engine.folder(volume) as own:
        if own is not None and filling.may_fill(own):
            return Written(True, filling.fill(own, pieces, meter))
        stream = map(bytes, pieces)
        engine.write_volume(volume, metered(plain.as_sent(stream) if fine else stream, meter))
        if own is not None:
            sync_disk(own)
    return Written(not fine)


def root_attributes(engine: Volumes, volume: str) -> dict[str, str]:
    """The extended attributes of a volume's own folder, as PAX calls them; none where that can't be
    known."""
    with engine.folder(volume) as own:
        found = {} if own is None else folder.attributes_of(own)
    return {
        key.decode("utf-8", "surrogateescape"): value.decode("utf-8", "surrogateescape")
        for key, value in found.items()
    }


def clear(engine: Volumes, volume: str) -> bool:
    """Remove what is in a volume, which stays; False where that can't be done from here: what is
    written then replaces what has the same name. Raise OSError and SafedockerError."""
    with engine.folder(volume) as own:
        if own is None or not filling.may_fill(own):
            return False
        filling.clear(own)
    return True


def dress(engine: Volumes, volume: str, pieces: Iterable[Piece], meter: Meter) -> Written | None:
    """Give a volume that holds what a stream tells, a fine one, the attributes that it tells; None
    where that can't be done from here, and it has to be written. Raise OSError and
    SafedockerError."""
    with engine.folder(volume) as own:
        if own is None or not filling.may_fill(own):
            return None
        filling.dress(own, pieces, meter)
    return Written(True)


class Sealed:
    """The pieces of a part's file, counted and digested while somebody reads them."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._digest = hashlib.sha256()
        self._size = 0

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            self._digest.update(piece)
            self._size += len(piece)
            yield piece

    def compare(self, part: Stored) -> None:
        """Read the rest: what follows the frame counts too. Raise BadArchive when it is not the
        file that was written."""
        for _piece in self:
            pass
        if (self._size, self._digest.hexdigest()) != (part.bytes, part.sha256):
            raise BadArchive(f"{part.name} is not the file that was written")


def check_written(
    pieces: Iterable[bytes], written: Callable[[], tuple[Stored, int]], meter: Meter
) -> None:
    """Read a file that is packed just now and say whether it is what was `written`, a part that
    unpacks to so many bytes, by the checksum that the packer made of them: asked for once the file
    is at its end. Raise BadArchive.

    Source: RFC 8878, Content_Checksum.
    """
    sealed = Sealed(pieces)
    found = 0
    try:
        for step in unpacked_sizes(sealed):
            found += step
            meter(found)
    except zstandard.ZstdError as fault:
        raise BadArchive(f"{written()[0].name} can't be unpacked: {fault}") from fault
    for _piece in sealed:  # what follows the frame counts too
        pass
    part, size = written()
    sealed.compare(part)
    if found != size:
        raise BadArchive(f"{part.name} holds {found} bytes, and {size} were written")


def check_unchanged(pieces: Iterable[bytes], part: Stored, meter: Meter) -> None:
    """Say whether a file is the one that was written, and checked then. Raise BadArchive."""
    Sealed(metered(pieces, meter)).compare(part)


def read_back(pieces: Iterable[bytes], part: Stored, expected: Inventory, meter: Meter) -> None:
    """Read a part's file from the store and compare it with what the manifest says, entry by entry.

    Raise BadArchive when its bytes, or what they unpack to, are not what the manifest says.
    """
    sealed = Sealed(pieces)
    reader = TreeReader()
    try:
        for _piece in read_by(reader, ahead(unpack(sealed)), meter):
            pass
        found = reader.finish()
    except zstandard.ZstdError as fault:
        raise BadArchive(f"{part.name} can't be unpacked: {fault}") from fault
    except BadArchive as fault:
        raise BadArchive(f"{part.name}: {fault.message}") from fault
    sealed.compare(part)
    if differs := difference(expected, found):
        raise BadArchive(f"{part.name} does not hold what was read: {differs}")


def read_by(reader: TreeReader, stream: Iterable[_Some], meter: Meter) -> Iterator[_Some]:
    """Pass a tar stream on while a reader takes it in."""
    for piece in metered(stream, meter):
        reader.feed(piece)
        yield piece


def metered(stream: Iterable[_Some], meter: Meter) -> Iterator[_Some]:
    """Pass a stream on, and tell the meter how much it was so far."""
    done = 0
    for piece in stream:
        yield piece
        done += len(piece)
        meter(done)


# A path has at most 4096 bytes for the kernel, the volume's own place among them; a name has 255.
_LONG = 3400


def check_reach(source: Source, reader: Tree) -> None:
    """Raise NoBackup where the engine's own stream comes so near to the longest path there is that
    it may have left out what lies deeper: it does so without a word, and can't count it either."""
    if not source.fine and reader.longest() > _LONG:
        raise NoBackup(
            "there are paths so long that the engine may leave out what lies below them",
            "to have it moved aside instead: SAFEDOCKER_PROTECT=move",
        )
