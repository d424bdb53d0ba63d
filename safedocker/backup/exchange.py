"""Volumes out to plain archives, and in from them, so that people can leave and arrive. How an
archive is read and written is plain.py's.
"""

from __future__ import annotations

import contextlib
import glob
import os
import shlex
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from safedocker.backup import contents, making, outgoing, plain, rest, stillness, ways
from safedocker.backup.contents import Source
from safedocker.backup.files import PART, PIECE, place_new, sync_file, sync_folder
from safedocker.backup.inventory import BadArchive, Inventory, TreeReader, difference
from safedocker.backup.manifest import Backup, CrossCheck
from safedocker.backup.plain import Packing
from safedocker.backup.rest import Rest, Still
from safedocker.backup.store import Claim, Draft, FolderStore
from safedocker.backup.take import Calm, Occasion, Progress, Stage, keep
from safedocker.backup.ways import Engine
from safedocker.errors import SafedockerError
from safedocker.loss.facts import Bytes, Volume
from safedocker.loss.plan import Kind, Loss

Sink = Callable[[Iterable[bytes]], None]
_SPOOL = "import.tar"
_ROOT = (0, 0, 0o755)  # whose the folder of a new volume is


@dataclass(frozen=True)
class Exported:
    """A volume that was written into an archive. `read_back`: and compared with it afterwards."""

    volume: Volume
    held: Inventory
    still: Still
    check: CrossCheck
    read_back: bool
    not_kept: tuple[str, ...]  # what there was no way to read


@dataclass(frozen=True)
class Imported:
    """An archive that is in a volume now, compared. `saved` is what the volume held before."""

    volume: str
    held: Inventory
    strip: int
    new: bool
    saved: Backup | None
    notes: tuple[str, ...]  # sentences: what did not come along


def export(
    volume: Volume,
    sink: Sink,
    written: Path | None,
    packing: Packing,
    how: Rest,
    engine: Engine,
    store: FolderStore,
    claim: Claim,
    progress: Progress,
) -> Exported:
    """Give the volume's archive to `sink`; read the file again that it has `written`, if it is one.

    Raise SafedockerError, BadArchive when the file reads back otherwise.
    """
    if volume.elsewhere:
        raise SafedockerError(
            f"the data of {volume.name} is in {volume.elsewhere}, and no copy of Docker's: nothing "
            "was written",
            "copy it where it is",
        )

    def meter(done: int) -> None:
        progress(Stage.COPY, volume.name, done, None)

    with (
        rest.journal(store, claim) as draft,
        rest.at_rest(volume, how, engine, draft, progress) as still,
    ):
        with contents.read(engine, volume.name, ways.images_of(engine, volume.name)) as source:
            reader = TreeReader(fine=source.fine)
            pieces = contents.read_by(reader, source.pieces, meter)
            sink(plain.pack(outgoing.as_plain(pieces), packing))
        held = reader.finish()
        contents.check_reach(source, reader)
        exact = {volume.name} if source.fine else set()
        check = ways.cross_check(engine, {volume.name: held}, exact)[volume.name]
    if written is not None:
        found = _measure(pieces_of(written), volume.name, progress)
        if differs := difference(held, found):
            raise BadArchive(
                f"{written} does not hold what {volume.name} holds: {differs}",
                "remove the file, and type the command again",
            )
    lacks = () if source.fine else source.not_kept
    return Exported(volume, held, still, check, written is not None, lacks)


def write_file(path: Path, pieces: Iterable[bytes]) -> None:
    """Write a file that is whole or not there, for this user alone. Until then it has no name,
    where the file system knows such files: of one that is killed nothing is left. Raise
    SafedockerError."""
    if path.exists():
        raise exists(path)
    _remove_left(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}{PART}")
    try:
        try:
            nameless = os.O_WRONLY | getattr(os, "O_TMPFILE", 0) | os.O_CLOEXEC
            target, named = os.open(path.parent, nameless, 0o600), False
        except OSError:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            target, named = os.open(beside, flags, 0o600), True
        with open(target, "wb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            sync_file(target)
            if named:
                place_new(beside, path)
            else:
                # That a folder is given, whichever, has the link of /proc followed.
                os.link(f"/proc/self/fd/{target}", path, src_dir_fd=target)
        sync_folder(path.parent)
    except FileExistsError:
        raise exists(path) from None
    except OSError as fault:
        raise SafedockerError(
            f"{path} can't be written: {fault.strerror}", "write it to another place"
        ) from fault
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()


def _remove_left(path: Path) -> None:
    """Remove what a killed one left, where it had to have a name."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*{PART}"):
        pid = left.name.removesuffix(PART).rpartition(".")[2]
        with contextlib.suppress(OSError):
            if pid.isdigit() and not _runs(int(pid)):
                left.unlink()


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def exists(path: Path) -> SafedockerError:
    """The fault of a file that stands where one is to be written."""
    return SafedockerError(f"{path} is there already: it was not written", "give another name")


def pieces_of(path: Path) -> Iterator[bytes]:
    """Read a file. Raise SafedockerError."""
    try:
        with path.open("rb", buffering=0) as file:
            while piece := file.read(PIECE):
                yield piece
    except OSError as fault:
        raise SafedockerError(f"{path} can't be read: {fault.strerror}", "name a file") from fault


def bring_in(
    source: Iterator[bytes] | Path,
    shown: str,
    name: str,
    engine: Engine,
    store: FolderStore,
    occasion: Occasion,
    claim: Claim,
    progress: Progress,
    *,
    strip: int | None,
    overwrite: bool,
) -> Imported:
    """Put an archive into a volume, which is made when it is not there. A `source` that can be read
    only once is kept meanwhile. `shown` is the archive's name in sentences.

    The archive is read to its end before anything is touched. Raise SafedockerError.
    """
    present = engine.volume(name)
    if present is not None and present.elsewhere:
        raise SafedockerError(
            f"the data of {name} is in {present.elsewhere}: nothing was changed",
            "unpack the archive there",
        )
    _check_idle(name, engine)
    with rest.journal(store, claim) as draft:
        opened = _twice(source, draft, store)
        try:
            outline = plain.outline(plain.unpack(opened()), strip)
        except plain.Ambiguous as fault:
            raise _which(fault, shown, name) from fault
        except BadArchive as fault:
            raise BadArchive(
                f"{shown} can't be imported: {fault.message}: nothing was changed",
                _unpacked(fault.program, shown, name)
                if isinstance(fault, plain.Packed)
                else "make it again as it was made, or import another copy",
            ) from fault
        held = None if present is None else contents.inspect(engine, name, lambda _done: None)
        saved = None
        new = held is None
        if present is not None and held is not None and held.entries > 1:
            saved = _replace(present, held, overwrite, engine, store, occasion, progress, claim)
            new = True
        owner = (held.root_uid, held.root_gid, held.root_mode) if held else _ROOT
        own = {} if present is None or new else contents.root_attributes(engine, name)
        target = present or Volume(name, "local", {}, {}, created_at="")
        stream = plain.as_volume(plain.unpack(opened()), outline, owner, own)
        try:
            filled = making.fill(
                target,
                contextlib.nullcontext(Source(stream, False, ())),
                engine,
                draft,
                progress,
                total=None,
                new=new,
            )
        except SafedockerError as fault:
            if saved is not None:
                fault.hint = f"what {name} held is in the backup {saved.id}\n{fault.hint}".strip()
            raise
    notes = filled.notes
    if outline.lists:
        notes += (
            f"not taken over: access control lists (of {outline.lists} entries), which tar --acls "
            "writes by people's names; with --xattrs --xattrs-include='*' they come along",
        )
    return Imported(name, filled.held, outline.strip, present is None, saved, notes)


def _measure(pieces: Iterator[bytes], name: str, progress: Progress) -> Inventory:
    """What an archive that was just written holds."""
    reader = TreeReader(top=outgoing.TOP)
    for piece in contents.metered(
        plain.unpack(pieces), lambda done: progress(Stage.CHECK, name, done, None)
    ):
        reader.feed(piece)
    return reader.finish()


def _twice(source: Iterator[bytes] | Path, draft: Draft, store: FolderStore) -> plain.Reader:
    """The archive, so that it can be read again."""
    if isinstance(source, Path):
        return lambda: pieces_of(source)
    try:
        draft.put(_SPOOL, source)
    except OSError as fault:
        raise SafedockerError(
            f"what comes in can't be kept in {store.where} ({fault.strerror}): nothing was changed",
            "make room there, or give the archive as a file",
        ) from fault
    return lambda: draft.open(_SPOOL)


def _which(fault: plain.Ambiguous, shown: str, name: str) -> BadArchive:
    again = f"safedocker import {shlex.quote(shown)} {name} --strip"
    return BadArchive(
        f"{shown}: {fault.message}, and it is not certain what that is: nothing was changed",
        f"is {fault.top}/ the volume itself: {again} {fault.depth}\n"
        f"is the volume to hold a folder {fault.top.partition('/')[0]}/: {again} 0",
    )


def _unpacked(program: str, shown: str, name: str) -> str:
    if program == "zip":
        packed = f"tar -C FOLDER -c . | safedocker import - {name}"
        return f"unpack it into a folder, and import that: {packed}"
    file = "" if shown == "-" else f" {shlex.quote(shown)}"
    return f"unpack it on the way: {program} -dc{file} | safedocker import - {name}"


def _check_idle(name: str, engine: Engine) -> None:
    _volumes, containers = engine.snapshot()
    running = [one.name for one in stillness.users(name, containers) if one.running]
    if running:
        raise SafedockerError(
            f"the volume {name} is in use by {', '.join(running)}: nothing was changed",
            f"stop it first: docker stop {' '.join(running)}",
        )


def _replace(
    present: Volume,
    held: Inventory,
    overwrite: bool,
    engine: Engine,
    store: FolderStore,
    occasion: Occasion,
    progress: Progress,
    claim: Claim,
) -> Backup:
    """Back up what a volume holds, and remove it, so that it can be made anew."""
    name = present.name
    if not overwrite:
        raise SafedockerError(
            f"the volume {name} holds data ({Bytes(held.bytes)} in {held.files} files): nothing "
            "was changed",
            "import into a volume of another name, or replace what it holds, after a backup of "
            "that: --overwrite",
        )
    _volumes, containers = engine.snapshot()
    having = [one.name for one in stillness.users(name, containers)]
    if having:
        raise SafedockerError(
            f"the volume {name} has to be made anew, and belongs to {', '.join(having)}: nothing "
            "was changed",
            f"remove the container first, volumes stay: docker rm {' '.join(having)}",
        )
    loss = Loss(Kind.NAMED_VOLUME, name, present, "replaced by an import", project=present.project)
    saved = keep((loss,), Calm(), engine, store, occasion, progress, claim.at)
    engine.remove_volume(name)
    return saved
