"""What stands on the engine's host and in its images: asked of the engine, so that it holds for one
that is far away too. No rule is decided here."""

from __future__ import annotations

import base64
import io
import json
import posixpath
import tarfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from safedocker.edge import answers
from safedocker.edge.porter import CHUNK, Porter
from safedocker.edge.wire import Wire
from safedocker.errors import NoBackup, SafedockerError

# What the engine says of a path that is missing. Source: moby volume/mounts/validate.go.
NO_SOURCE = "bind source path does not exist"
PULL = 15.0  # seconds a registry may take
# Go's os.FileMode.
DIRECTORY = 1 << 31
LINK = 1 << 27
LINKS = 8  # links that are followed


@dataclass(frozen=True)
class Stat:
    """A path in a container."""

    path: str  # with links followed
    size: int  # bytes
    directory: bool


class Host:
    """The host of one engine."""

    def __init__(self, wire: Wire, porter: Porter, looks: bool = True) -> None:
        self.looks = looks  # may its paths be looked for?
        self._wire = wire
        self._porter = porter

    @property
    def label(self) -> str:
        """The value of our label, for a container that somebody else makes for us."""
        return self._porter.stamp

    def stands(self, path: str) -> bool | None:
        """Is the path there? None where the engine does not tell: it may not look, or is too busy.

        A container that would mount it is made, which the engine refuses when it is missing.
        """
        try:
            self._porter.mount(path)
        except SafedockerError as fault:
            # ENOTDIR: below a file, where nothing can be made either.
            told = fault.message
            return False if NO_SOURCE in told else True if "not a directory" in told else None
        return True

    def image(self, name: str) -> str:
        """The id of the image that a name stands for, "" where there is none."""
        path = f"/images/{quote(name, safe='/:@')}/json"
        found = self._wire.json("GET", path, f"inspect image {name}", allowed=(400, 404))
        return answers.text(answers.mapping(found), "Id")

    def can_pull(self, name: str) -> bool | None:
        """Does a registry have the image? Asked through the engine, which pulls nothing then.

        None where it may be there for somebody who is logged in, or nobody can say.
        """
        path = f"/distribution/{quote(name, safe='/:@')}/json"
        try:
            found = self._wire.find("GET", path, f"find image {name}", allowed=(404,), timeout=PULL)
        except SafedockerError as fault:
            return False if _is_network_fault(fault.message) and not self._has_mirrors() else None
        return None if found is None else True

    def _has_mirrors(self) -> bool:
        """A pull asks the mirrors as well, which the question above does not."""
        try:
            info = self._wire.json("GET", "/info", "say which registries it asks")
        except SafedockerError:
            return True
        return bool(answers.sequence(answers.mapping(info).get("RegistryConfig") or {}, "Mirrors"))

    def files(self, image: str, targets: Iterable[str]) -> dict[str, bool]:
        """Which of the places in an image are files: False for a folder, or nothing there."""
        found = {}
        try:
            with self._porter.container_of(image) as helper:
                for target in targets:
                    stat = self.stat(helper, target)
                    found[target] = stat is not None and not stat.directory
        except SafedockerError:
            return found
        return found

    def stat(self, container: str, path: str, *, follow: bool = True) -> Stat | None:
        """Look at a path in a container; `follow` its links. None where there is none.

        The engine sets up the container's mounts for that, so that a bind source which is missing
        would be made: ask only where none is (seen on 20.10 to 28.5).
        """
        for _ in range(LINKS):
            answer = self._wire.find(
                "HEAD",
                f"/containers/{quote(container, safe='')}/archive",
                "look at a path in a container",
                {"path": path},
                allowed=(400, 404),
            )
            if answer is None:
                return None
            told = _decoded(answer.headers.get("X-Docker-Container-Path-Stat", ""))
            mode, link = told.get("mode"), told.get("linkTarget")
            if not isinstance(mode, int):
                return None
            if not (follow and mode & LINK and isinstance(link, str) and link):
                size = told.get("size")
                return Stat(path, size if isinstance(size, int) else 0, bool(mode & DIRECTORY))
            path = posixpath.join(posixpath.dirname(path), link)
        return None

    def listed(self, container: str, folder: str, deadline: float) -> dict[str, int] | None:
        """The files below a folder of a container, by their path in it, with their bytes; None when
        that takes longer than until `deadline`, of the monotonic clock. As for `stat`: it makes
        bind sources that are missing.
        """
        found: dict[str, int] = {}
        with self._wire.reading(
            f"/containers/{quote(container, safe='')}/archive",
            "list a folder of a container",
            {"path": folder},
            size=CHUNK,
            timeout=max(0.1, deadline - time.monotonic()),
            kind=NoBackup,
        ) as chunks:
            try:
                with tarfile.open(fileobj=Stream(chunks, deadline), mode="r|") as archive:
                    for member in archive:
                        if not member.isdir():
                            found[member.name.partition("/")[2]] = member.size
            except (tarfile.TarError, TimeoutError):
                return None
        return found

    def networks(self) -> frozenset[str]:
        """The names and ids of the engine's networks."""
        found = self._wire.json("GET", "/networks", "list its networks")
        each = [answers.mapping(one) for one in found or ()]
        return frozenset(answers.text(one, key) for one in each for key in ("Name", "Id"))

    def networks_of(self, container: str) -> frozenset[str]:
        """The networks of a container, by id, or by name where it never ran."""
        path = f"/containers/{container}/json"
        found = self._wire.json("GET", path, "inspect a container", allowed=(404,))
        settings = answers.mapping(answers.mapping(found).get("NetworkSettings"))
        each = answers.mapping(settings.get("Networks"))
        ids = {name: answers.text(answers.mapping(one), "NetworkID") for name, one in each.items()}
        return frozenset(id_ or name for name, id_ in ids.items())

    def forget(self, container: str) -> None:
        """Remove a container that was made for us, of somebody's image and without mounts."""
        self._porter.remove_new(container)


class Stream(io.RawIOBase):
    """Chunks as a file that can be read. Raise TimeoutError past the deadline."""

    def __init__(self, chunks: Iterator[bytes], deadline: float) -> None:
        self._chunks = chunks
        self._deadline = deadline
        self._held = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._held:
            if time.monotonic() > self._deadline:
                raise TimeoutError
            self._held = next(self._chunks, b"")
        given = self._held[: len(buffer)]
        self._held = self._held[len(given) :]
        buffer[: len(given)] = given
        return len(given)


def _decoded(told: str) -> dict[str, object]:
    try:
        return answers.mapping(json.loads(base64.b64decode(told)))
    except ValueError:
        return {}


def _is_network_fault(told: str) -> bool:
    return any(
        words in told
        for words in (
            "network is unreachable",
            "no such host",
            "no route to host",
            "connection refused",
            "i/o timeout",
            "Temporary failure in name resolution",
        )
    )
