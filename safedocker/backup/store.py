"""Where backups lie: one folder a backup, its manifest written last. What goes into a part, and
when a backup may be taken, is not decided here.

    <root>/lock                       held for an instant by whoever begins, sweeps or deletes
    <root>/<id>/claim                 locked by who works on it; JSON lines: who, and the journal
    <root>/<id>/volume-1.tar.zst ...  the parts, written beside their place and renamed
    <root>/<id>/manifest.json         last: a folder without it is no backup
    <root>/<id>/restore.json          what an undo has begun and finished
    <root>/<id>/check.json ...        what is learnt of it later, small and replaced as a whole

What a store must be able to do is little: put and read a part, list, put and read a small note,
lock a backup against its deletion. That files are renamed and appended to is this store's affair.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from safedocker.backup.files import (
    GOING,
    PART,
    append_line,
    locked,
    make_folder,
    pieces_of,
    places_of,
    remove_folder,
    sync_folder,
    try_lock,
    write_file,
)
from safedocker.backup.manifest import ID, StoppedContainer, dump, load
from safedocker.backup.manifest import Backup as Backup
from safedocker.backup.readback import Check
from safedocker.errors import SafedockerError

PIN = "kept.json"  # the note of a backup that is never expired or deleted
_SUFFIX = "0123456789abcdefghjkmnpqrstvwxyz"
_PATIENCE = 5.0  # seconds to wait for another process that works on a backup


@dataclass(frozen=True)
class Claim:
    """Who makes a backup. It stands in the store before anything else happens."""

    at: datetime.datetime  # UTC
    argv: tuple[str, ...]
    caller: str
    process: str = ""  # a stamp that tells it from every other process


@dataclass(frozen=True)
class Abandoned:
    """Work whose process ended before all was done. `stopped` may be down because of it, and the
    volume `making` half-written.

    `whole`: it has its manifest. `moving`: what it moves aside may be in the volumes, or aside;
    `handed`: the command had been let run by then.
    """

    id: str
    at: str  # ISO 8601, "" when the claim could not be read
    pid: int
    host: str
    argv: tuple[str, ...]
    engine: str
    stopped: tuple[StoppedContainer, ...]
    whole: bool = False
    moving: bool = False
    handed: bool = False
    making: str = ""


@dataclass(frozen=True)
class Damaged:
    """A folder that has a manifest which cannot be read."""

    id: str
    error: SafedockerError


@dataclass(frozen=True)
class Listing:
    """What a store holds, newest first."""

    backups: tuple[Backup, ...]
    damaged: tuple[Damaged, ...]


class Draft:
    """A backup in the making, locked by this process until it is committed or discarded."""

    def __init__(self, id_: str, folder: Path, lock: int) -> None:
        self.id = id_
        self._folder = folder
        self._lock = lock

    def note_stopping(self, engine: str, containers: Sequence[StoppedContainer]) -> None:
        """Write into the journal which containers are about to be stopped. Raise OSError."""
        line = {"engine": engine, "stopping": [asdict(one) for one in containers]}
        append_line(self._lock, line)

    def note_started(self) -> None:
        """Write into the journal that they run again. Raise OSError."""
        append_line(self._lock, {"stopping": []})

    def note_making(self, engine: str, volume: str) -> None:
        """Write into the journal which volume is filled now, "" for none. Raise OSError."""
        append_line(self._lock, {"engine": engine, "making": volume})

    def put(self, name: str, pieces: Iterable[bytes], check: Check | None = None) -> int:
        """Store a part; return its bytes. It is on the disk when this returns, and was read from
        there by `check`, in a thread, maybe while the rest was still to come. Raise OSError (ENOSPC
        when the disk is full), and what `pieces` and `check` raise; then there is no such part."""
        return write_file(self._folder / name, pieces, check)

    def open(self, name: str) -> Iterator[bytes]:
        """Read a part that was put, from the disk where the system lets us. Raise OSError."""
        return pieces_of(self._folder / name)

    def commit(self, backup: Backup) -> None:
        """Write the manifest: from here on it is a backup. Raise OSError, then it is none."""
        write_file(self._folder / "manifest.json", [dump(backup)])
        os.close(self._lock)

    def abandon(self) -> None:
        """Let go without clearing away: the next sweep tells what the journal says."""
        os.close(self._lock)

    def discard(self) -> None:
        """Remove all of it. Raise OSError."""
        try:
            with locked(self._folder.parent):
                remove_folder(self._folder)
        finally:
            os.close(self._lock)


class FolderStore:
    """Backups in a folder of this machine, or one that is mounted here.

    `root` is made on the first write, mode 0700; files are 0600, whatever the umask.
    """

    def __init__(self, root: Path) -> None:
        self.where = str(root)  # for sentences
        self._root = root

    def begin(self, claim: Claim) -> Draft:
        """Make a draft and lock it. Raise SafedockerError when the folder can't be used."""
        try:
            make_folder(self._root)
            with locked(self._root):
                id_, folder = self._new_folder(claim.at)
                try:
                    lock = _write_claim(folder / "claim", id_, claim)
                    sync_folder(self._root)
                except BaseException:
                    shutil.rmtree(folder)
                    raise
        except OSError as fault:
            raise SafedockerError(
                f"the backup folder {self.where} can't be written: {fault.strerror}",
                "make it writable, or set XDG_DATA_HOME to a folder that is",
            ) from fault
        return Draft(id_, folder, lock)

    def list(self) -> Listing:
        """Return every backup, newest first; one that can't be read hides no other."""
        backups: list[Backup] = []
        damaged: list[Damaged] = []
        for id_ in sorted(self._ids(), reverse=True):
            if (self._root / id_ / "manifest.json").exists():
                try:
                    backups.append(self.get(id_))
                except SafedockerError as error:
                    if (self._root / id_).exists():  # it may have been deleted just now
                        damaged.append(Damaged(id_, error))
        backups.sort(key=lambda backup: (backup.taken_at, backup.id), reverse=True)
        return Listing(tuple(backups), tuple(damaged))

    def get(self, id_: str) -> Backup:
        """Return a backup. Raise SafedockerError when there is none, or its manifest is damaged."""
        file = self._root / id_ / "manifest.json"
        try:
            if not ID.fullmatch(id_):
                raise FileNotFoundError
            text = file.read_bytes()
        except FileNotFoundError:
            raise SafedockerError(
                f"there is no backup {id_!r} in {self.where}",
                "see which there are: safedocker backups",
            ) from None
        except OSError as fault:
            raise SafedockerError(
                f"{file} can't be read: {fault.strerror}", "make it readable for this user"
            ) from fault
        backup = load(text, str(file))
        if backup.id != id_:
            raise SafedockerError(
                f"the folder {file.parent} holds the backup {backup.id}",
                f"give the folder that name: {backup.id}",
            )
        return backup

    def open(self, id_: str, name: str) -> Iterator[bytes]:
        """Read a part of a backup. Raise OSError."""
        return pieces_of(self._root / id_ / name)

    @contextlib.contextmanager
    def reading(self, id_: str) -> Iterator[None]:
        """Keep other processes from deleting the backup. Raise SafedockerError when it is gone, or
        about to go."""
        folder = self._root / id_
        self.get(id_)
        claim = folder / "claim"
        with _open_lock(claim if claim.exists() else folder / "manifest.json") as lock:
            if not try_lock(lock, shared=True):
                raise _busy(id_)
            self.get(id_)  # it may have been deleted between the two
            yield

    @contextlib.contextmanager
    def hold(self, id_: str) -> Iterator[None]:
        """Keep other processes from undoing the backup too. Raise SafedockerError when one does so
        now, and for longer than what follows a command takes."""
        folder = self._root / id_
        with contextlib.ExitStack() as stack:
            # Where somebody copied the folder without its claim, there is but one file to lock.
            if (folder / "claim").exists():
                stack.enter_context(self.reading(id_))
            lock = stack.enter_context(_open_lock(folder / "manifest.json"))
            deadline = time.monotonic() + _PATIENCE
            while not try_lock(lock):
                if time.monotonic() > deadline:
                    raise _busy(id_)
                time.sleep(0.05)
            yield

    def amend(self, backup: Backup) -> None:
        """Replace the manifest of one that was just taken, and who rests for it. Raise OSError."""
        self._note(backup.id, {"stopping": [asdict(one) for one in backup.stopped]})
        self.write_note(backup.id, "manifest.json", dump(backup))

    def note(self, id_: str, name: str) -> bytes | None:
        """Return a backup's note; None when there is none that can be read."""
        try:
            return (self._root / id_ / name).read_bytes()
        except OSError:
            return None

    def write_note(self, id_: str, name: str, text: bytes) -> None:
        """Replace a backup's note as a whole. Raise OSError."""
        with locked(self._root):
            write_file(self._root / id_ / name, [text])

    def drop_note(self, id_: str, name: str) -> None:
        """Remove a backup's note, if there is one. Raise OSError."""
        with locked(self._root), contextlib.suppress(FileNotFoundError):
            (self._root / id_ / name).unlink()

    def places(self) -> tuple[str, ...]:
        """Where it lies, by all the names that its folder may have; () for a store elsewhere."""
        return places_of(self._root)

    def free_bytes(self) -> int | None:
        """Return what this user may still write, in bytes; None where a store has no such limit."""
        place = next(one for one in (self._root, *self._root.parents) if one.exists())
        state = os.statvfs(place)
        return state.f_bavail * state.f_frsize

    def delete(self, id_: str) -> None:
        """Remove a backup for good. Raise SafedockerError when there is none, it is in use, or it
        is pinned."""
        folder = self._root / id_
        if not ID.fullmatch(id_) or not folder.is_dir():
            self.get(id_)
        try:
            with locked(self._root), contextlib.ExitStack() as stack:
                for name in ("claim", "manifest.json"):
                    if (folder / name).exists() and not try_lock(
                        stack.enter_context(_open_lock(folder / name))
                    ):
                        raise _busy(id_)
                if self.note(id_, PIN) is not None:
                    raise SafedockerError(
                        f"the backup {id_} is kept: it can't be deleted",
                        f"let it go first: safedocker keep --off {id_}",
                    )
                remove_folder(folder)
        except OSError as fault:
            raise SafedockerError(
                f"the backup {id_} can't be deleted: {fault.strerror}",
                f"make {self.where} writable for this user",
            ) from fault

    def sweep(self, lives: Callable[[str], bool] = lambda _: False) -> tuple[Abandoned, ...]:
        """Clear away what killed processes left, and return what their claims say, oldest first.

        A draft whose process lives, here or on another host that mounts the folder, is left alone;
        `lives` tells it by its stamp. What can't be cleared away now stays for the next time: that
        stands in nobody's way. One that is `moving` or `handed` stays until it is settled.
        """
        found: list[Abandoned] = []
        with contextlib.suppress(OSError, SafedockerError):
            if not self._root.is_dir():
                return ()
            with locked(self._root):
                for path in self._root.glob(GOING + "*"):
                    shutil.rmtree(path)
                for id_ in sorted(self._ids()):
                    claim = left(self._root / id_, lives)
                    if claim is None:
                        continue
                    if not claim.whole:
                        found.append(claim)
                        remove_folder(self._root / id_)
                        continue
                    for path in (self._root / id_).glob("*" + PART):
                        path.unlink()  # a note that was not finished
                    if claim.moving or (claim.stopped and claim.handed):
                        found.append(claim)
                    elif claim.stopped:  # whole, but its command never came to run
                        found.append(claim)
                        self.settle(id_)
        return tuple(found)

    def in_use(self, id_: str, lives: Callable[[str], bool]) -> bool:
        """Is the command before which it was taken still at it, or what it moved not settled?"""
        claim = left(self._root / id_, lives)
        return claim is None or claim.moving

    def note_moving(self, id_: str) -> None:
        """Write into a whole backup's journal that volumes are about to be moved. Raise OSError."""
        self._note(id_, {"moving": True})

    def hand_over(self, id_: str) -> None:
        """Write into it that the command is about to run: what it then does not remove is to be
        given back, and started again. Raise OSError."""
        self._note(id_, {"handed": True})

    def settle(self, id_: str) -> None:
        """Write into it that all is accounted for: what was stopped runs again, or the command
        goes on to remove it; what was moved aside is to stay there, or is back. Raise OSError."""
        self._note(id_, {"stopping": [], "moving": False})

    def _note(self, id_: str, line: Mapping[str, object]) -> None:
        claim = os.open(self._root / id_ / "claim", os.O_WRONLY)
        try:
            append_line(claim, line)
        finally:
            os.close(claim)

    def _ids(self) -> Iterator[str]:
        try:
            names = os.listdir(self._root)
        except (FileNotFoundError, NotADirectoryError):
            names = []
        except OSError as fault:
            raise SafedockerError(
                f"the backup folder {self.where} can't be read: {fault.strerror}",
                "make it readable for this user",
            ) from fault
        return (name for name in names if ID.fullmatch(name))

    def _new_folder(self, at: datetime.datetime) -> tuple[str, Path]:
        while True:
            suffix = "".join(secrets.choice(_SUFFIX) for _ in range(4))
            id_ = f"{at.astimezone(datetime.UTC):%Y%m%d-%H%M%S}-{suffix}"
            folder = self._root / id_
            try:
                folder.mkdir(0o700)
            except FileExistsError:
                continue
            folder.chmod(0o700)
            return id_, folder


STORES = (FolderStore,)


def _write_claim(path: Path, id_: str, claim: Claim) -> int:
    """Return the open file, locked as long as it is open."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.fchmod(lock, 0o600)
        line = {
            "claim": 1,
            "id": id_,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "at": claim.at.isoformat(),
            "argv": list(claim.argv),
            "caller": claim.caller,
            "process": claim.process,
        }
        append_line(lock, line)
        sync_folder(path.parent)
    except BaseException:
        os.close(lock)
        raise
    return lock


def left(folder: Path, lives: Callable[[str], bool]) -> Abandoned | None:
    """Read what a draft's or a backup's claim says. None when its process is still at it."""
    lines: list[dict[str, object]] = []
    try:
        lock = os.open(folder / "claim", os.O_RDONLY)
    except FileNotFoundError:
        pass  # killed before it could write it: nothing had been stopped
    else:
        with open(lock, "rb") as claim:
            if not try_lock(lock, shared=True):  # a draft's alone is locked for one
                return None
            for text in claim:
                with contextlib.suppress(ValueError):  # the last line may be cut short
                    line = json.loads(text)
                    if isinstance(line, dict):
                        lines.append(line)
    said: dict[str, object] = {}
    for line in lines:
        said.update(line)
    if lives(str(said.get("process", ""))):
        return None
    argv, pid, stopping = said.get("argv"), said.get("pid"), said.get("stopping")
    return Abandoned(
        id=folder.name,
        at=str(said.get("at", "")),
        pid=pid if isinstance(pid, int) else 0,
        host=str(said.get("host", "")),
        argv=tuple(map(str, argv)) if isinstance(argv, list) else (),
        engine=str(said.get("engine", "")),
        stopped=tuple(
            StoppedContainer(
                str(one.get("id", "")), str(one.get("name", "")), one.get("paused") is True
            )
            for one in (stopping if isinstance(stopping, list) else [])
            if isinstance(one, dict)
        ),
        whole=(folder / "manifest.json").exists(),
        moving=said.get("moving") is True,
        handed=said.get("handed") is True,
        making=str(said.get("making", "")),
    )


@contextlib.contextmanager
def _open_lock(path: Path) -> Iterator[int]:
    try:
        lock = os.open(path, os.O_RDONLY)
    except OSError as fault:
        raise SafedockerError(
            f"{path} can't be read: {fault.strerror}", "make it readable for this user"
        ) from fault
    try:
        yield lock
    finally:
        os.close(lock)


def _busy(id_: str) -> SafedockerError:
    return SafedockerError(f"another process works on the backup {id_}", "wait until it has ended")
