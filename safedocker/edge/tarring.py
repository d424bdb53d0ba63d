"""Reads volumes with GNU tar, which tells what the engine's own streams leave out: all extended
attributes, access control lists, whole times, holes.

It runs in a container of our own, of an image that is on the engine already: without network, on a
read-only root, with no capability but to read. Nothing is pulled.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from safedocker.edge import answers
from safedocker.edge.porter import BUSY, CHUNK, SLOW, TARGET, Porter
from safedocker.edge.wire import Wire
from safedocker.errors import Changed, NoBackup, NoEngine, SafedockerError

_PLACES = ("/usr/bin/tar", "/bin/tar")
_MARKS = (b"GNU tar", b"SCHILY.xattr")  # of a GNU tar that was built with attributes
_MOST = 8 << 20  # bytes of a program
# What it says, and ends with 1, where somebody writes meanwhile. Source: GNU tar src/create.c.
_CHANGED = ("file changed as we read it", "File removed before we read it")
_LOOK = 10.0  # seconds for a look into an image
_HEADER = 8  # bytes before each frame: the stream's number, three zeros, the length
_STDERR = 2
_SAID = 2000  # bytes of stderr that are kept
# Sorted, as the engine walks: of two hard links the same is then the file.
_PACK = (
    *("--sort=name", "--create", "--file=-", "--format=posix", "--numeric-owner", "--sparse"),
    *("--xattrs", "--xattrs-include=*", "--xattrs-exclude=security.selinux", "--acls"),
    *("--pax-option=delete=atime,delete=ctime", f"--directory={TARGET}/..", TARGET.strip("/")),
)


@dataclass(frozen=True)
class Tar:
    """A GNU tar in an image, and where the image declares volumes."""

    image: str
    path: str
    volumes: tuple[str, ...]


class Tarrer:
    """Finds GNU tar on one engine, and reads with it. Safe to use from several threads."""

    def __init__(self, wire: Wire, porter: Porter) -> None:
        self._wire = wire
        self._porter = porter
        self._lock = threading.Lock()
        self._found: dict[str, Tar | None] = {}

    def find(self, images: Sequence[str]) -> Tar | None:
        """Return the GNU tar of the first of these images that has one."""
        with self._lock:
            for image in images:
                if image not in self._found:
                    self._found[image] = self._look(image)
                if (tar := self._found[image]) is not None:
                    return tar
        return None

    def _look(self, image: str) -> Tar | None:
        path = f"/images/{quote(image, safe='/:@')}/json"
        try:
            said = self._wire.json("GET", path, f"inspect image {image}", allowed=(400, 404))
            found = answers.mapping(said)
            declared = answers.mapping(answers.mapping(found.get("Config")).get("Volumes"))
            id_ = answers.text(found, "Id")
            if not id_:
                return None
            with self._porter.container_of(id_) as helper:
                for place in _PLACES:
                    if self._porter.has(helper, place, _LOOK) and self._is_gnu(helper, place):
                        return Tar(id_, place, tuple(declared))
        except SafedockerError:
            pass  # then the engine's own stream has to do
        return None

    def _is_gnu(self, helper: str, place: str) -> bool:
        held = bytearray()
        with self._porter.read(helper, place, _LOOK) as chunks:
            for chunk in chunks:
                held += chunk
                if len(held) > _MOST:
                    return False
        return all(mark in held for mark in _MARKS)

    @contextlib.contextmanager
    def read(self, volume: str, tar: Tar) -> Iterator[Iterator[bytes]]:
        """Give the volume's tar stream, names as the engine's own. Where it ends NoBackup is raised
        unless tar ended well."""
        said = bytearray()
        with (
            self._porter.opened(volume, read_only=True, program=_program(tar)) as helper,
            self._wire.reading(
                f"/containers/{helper}/attach",
                "send what tar reads",
                {"stream": "1", "stdout": "1", "stderr": "1"},
                method="POST",
                size=CHUNK,
                timeout=SLOW,
                kind=NoBackup,
            ) as pieces,
        ):
            path = f"/containers/{helper}/start"
            self._wire.call("POST", path, "start tar", timeout=BUSY, kind=NoBackup)
            yield self._output(helper, pieces, said)

    def _output(self, helper: str, pieces: Iterator[bytes], said: bytearray) -> Iterator[bytes]:
        for stream, content in _frames(pieces):
            if stream == _STDERR:
                said += content[: max(0, _SAID - len(said))]
            else:
                yield content
        ended = self._wire.call(
            "POST", f"/containers/{helper}/wait", "say how tar ended", timeout=BUSY, kind=NoBackup
        )
        code = answers.mapping(ended.json()).get("StatusCode")
        words = " ".join(said.decode("utf-8", "replace").split())
        if code == 1 and any(one in words for one in _CHANGED):
            raise Changed("something was changed while it was read", "stop what writes to it")
        if code != 0:
            raise NoBackup(f"tar ended with {code}: {words}", "type the command again")


def _program(tar: Tar) -> dict[str, object]:
    """What the engine is told of a container that packs its volume on its standard output."""
    # Where the image declares volumes the engine would make some.
    hidden = [{"Type": "tmpfs", "Target": target} for target in tar.volumes]
    return {
        "Image": tar.image,
        "Entrypoint": [tar.path],
        "Cmd": list(_PACK),
        "User": "0:0",
        "Env": ["LC_MESSAGES=C"],
        "WorkingDir": "/",
        "AttachStdout": True,
        "AttachStderr": True,
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": {
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "CapAdd": ["DAC_READ_SEARCH"],
            "SecurityOpt": ["no-new-privileges"],
            "Mounts": hidden,
        },
    }


def _frames(pieces: Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
    """The parts of a multiplexed stream: number of the stream, content. Source: moby
    pkg/stdcopy."""
    held = b""
    for piece in pieces:
        held += piece
        at = 0
        view = memoryview(held)
        while len(held) - at >= _HEADER:
            end = at + _HEADER + int.from_bytes(view[at + 4 : at + _HEADER])
            if end > len(held):
                break
            yield held[at], bytes(view[at + _HEADER : end])
            at = end
        held = bytes(view[at:])
    if held:
        raise NoEngine("the engine stopped sending in the middle of what tar wrote")
