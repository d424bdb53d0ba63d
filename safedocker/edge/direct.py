"""A volume's own folder, where the engine is on this machine and we are its root: what is in it can
be read and written there with all there is, and needs no carrying.

That a folder here is the engine's is proven, not believed: a path may mean another disk to a proxy
in front of the engine, or to one in a container or on another machine.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import json
import os
import re
import secrets
import socket
import stat
import struct
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from safedocker.edge import answers
from safedocker.edge.porter import BUSY, SCRATCH, TARGET, Porter, find_volume
from safedocker.edge.wire import Wire
from safedocker.errors import SafedockerError
from safedocker.loss.facts import HELPER, Volume

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid
_OCTAL = re.compile(rb"\\([0-7]{3})")  # how a blank is written. Source: proc_pid_mountinfo(5)
_SECOND = 10**9
_STAT = "X-Docker-Container-Path-Stat"
_OTHERS_IDS = ("name=userns", "name=rootless")  # files have other owners than containers see


class Direct:
    """Opens folders of one engine's volumes. Safe to use from several threads."""

    def __init__(self, wire: Wire, porter: Porter, host: str, security: Sequence[str]) -> None:
        """`host`: the engine's address. `security`: what it says of itself in SecurityOptions."""
        self._wire = wire
        self._porter = porter
        self._local = host.startswith("unix://") and hasattr(socket, "SO_PEERCRED")
        # An engine that says nothing of its security may remap ids all the same: /info was denied.
        own_ids = bool(security) and not _others_ids(security)
        self._may = self._local and os.geteuid() == 0 and own_ids
        self._socket = host.removeprefix("unix://")
        self._lock = threading.Lock()
        self._held = threading.local()  # what this thread has open, by the volume's name
        self._found: dict[str, int | None] = {}  # data directory: its folder of volumes

    def close(self) -> None:
        """Let go of the folders."""
        with self._lock:
            found, self._found = self._found, {}
        for folder in found.values():
            if folder is not None:
                os.close(folder)

    @contextlib.contextmanager
    def opened(self, name: str) -> Iterator[int | None]:
        """Give the volume's folder, open to be read; None where it can't be had, or it is not
        certain that it is the one. Inside the block the engine does not let the volume go, and
        asked again in the same thread it is the same folder at once.

        Raise NoBackup when there is no such volume.
        """
        held: dict[str, int | None] = self._held.__dict__
        if name in held:
            yield held[name]
            return
        if not self._may or self._missing(name):
            yield None
            return
        with (
            self._porter.opened(name, read_only=True) as helper,
            self.seen_by(helper, name) as folder,
        ):
            held[name] = folder
            try:
                yield folder
            finally:
                del held[name]

    def mounted_in(self, name: str) -> bytes:
        """Where in the volume's folder something else is mounted, as a path from there; b"" where
        nothing is, or this can't be known from here."""
        volume = find_volume(self._wire, name) if self._local else None
        if volume is None or volume.data_directory is None or "/" in name:
            return b""
        place = f"{volume.data_directory}/volumes/{name}/_data"
        below = {os.fsencode(one) + b"/" for one in (place, os.path.realpath(place))}
        for table in self._tables():
            with contextlib.suppress(OSError):
                for line in Path(table).read_bytes().splitlines():
                    point = _OCTAL.sub(lambda digits: bytes([int(digits[1], 8)]), line.split()[4])
                    for start in below:
                        if point.startswith(start):
                            return point.removeprefix(start)
        return b""

    def _tables(self) -> Iterator[str]:
        """What is mounted, as the process at the socket sees it, and as we do."""
        if pid := self._peer():
            yield f"/proc/{pid}/mountinfo"
        yield "/proc/self/mountinfo"

    def _missing(self, name: str) -> bool:
        """Is it certain, before a container is made to hold the volume, that it can't be had?"""
        volume = find_volume(self._wire, name)
        folder = None if volume is None else self._folder(volume)
        if folder is not None:
            os.close(folder)
        return volume is not None and folder is None

    @contextlib.contextmanager
    def seen_by(self, helper: str, name: str) -> Iterator[int | None]:
        """As `opened`, for a container of ours that mounts the volume already."""
        volume = find_volume(self._wire, name) if self._may else None
        folder = None if volume is None else self._folder(volume)
        if folder is None:
            yield None
            return
        try:
            yield folder if self._is_same(folder, helper) else None
        finally:
            os.close(folder)

    def _folder(self, volume: Volume) -> int | None:
        root = volume.data_directory
        if root is None or "/" in volume.name:
            return None
        with self._lock:
            if root not in self._found:
                self._found[root] = self._volumes(root)
            volumes = self._found[root]
        if volumes is None:
            return None
        with contextlib.suppress(OSError):
            above = os.open(volume.name, _FOLDER, dir_fd=volumes)
            try:
                return os.open("_data", _FOLDER, dir_fd=above)
            finally:
                os.close(above)
        return None

    def _volumes(self, root: str) -> int | None:
        """The engine's folder of volumes: what it makes for a volume appears there."""
        folders = []
        for before in self._roots():
            with contextlib.suppress(OSError):
                folders.append(os.open(f"{before}{root}/volumes", _FOLDER))
        found = None
        if folders:
            name = f"{SCRATCH}{secrets.token_hex(8)}"
            body = {"Name": name, "Labels": {HELPER: self._porter.stamp}}
            with contextlib.suppress(SafedockerError):
                self._wire.call("POST", "/volumes/create", "make a volume", body=body, timeout=BUSY)
                found = next((folder for folder in folders if _has(folder, name)), None)
            self._porter.remove_scratch(name)
        for folder in folders:
            if folder != found:
                os.close(folder)
        return found

    def _roots(self) -> Iterator[str]:
        """What stands before a path of the engine's: as the process at the socket sees it, which
        has mounts of its own, or as we do."""
        if pid := self._peer():
            yield f"/proc/{pid}/root"
        yield ""

    def _peer(self) -> int:
        """The process at the socket; 0 where it can't be known."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self._socket)
            told = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            return int(_CREDENTIALS.unpack(told)[0])
        return 0

    def _is_same(self, folder: int, helper: str) -> bool:
        """Does the engine see the same, where it mounts the volume?"""
        said = self._wire.find(
            "HEAD",
            f"/containers/{helper}/archive",
            "look into a volume",
            {"path": TARGET},
            timeout=BUSY,
        )
        if said is None:
            return False
        try:
            told = answers.mapping(json.loads(base64.b64decode(said.headers[_STAT])))
            there = int(told["mode"]) & 0o777, _nanoseconds(str(told["mtime"]))
        except (KeyError, ValueError, TypeError):
            return False
        here = os.fstat(folder)
        return there == (stat.S_IMODE(here.st_mode) & 0o777, here.st_mtime_ns)


def _others_ids(security: Sequence[str]) -> bool:
    return any(one.startswith(_OTHERS_IDS) for one in security)


def _has(folder: int, name: str) -> bool:
    with contextlib.suppress(OSError):
        return stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    return False


def _nanoseconds(text: str) -> int:
    """A time as Go writes it: RFC 3339, up to nine digits of a second."""
    whole, point, rest = text.partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    zone = rest[len(digits) :] if point else ""
    moment = datetime.datetime.fromisoformat(whole + zone)
    return int(moment.timestamp()) * _SECOND + int(digits.ljust(9, "0"))
