"""Carries bytes out of volumes and into them, by containers of our own that are never started.

They come from an empty image that is imported, so nothing is pulled and nothing needs root.
"""

from __future__ import annotations

import contextlib
import json
import posixpath
import re
import secrets
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from safedocker.edge import answers, stamp
from safedocker.edge.wire import Wire
from safedocker.errors import NoBackup, SafedockerError
from safedocker.loss.facts import HELPER, Volume

CHUNK = 1 << 20  # bytes handed on at a time
SLOW = 600.0  # seconds of silence after which a stream counts as dead
BUSY = 120.0  # seconds an engine under load may take for one step
SCRATCH = "safedocker-scratch-"  # how the names of volumes of our own begin
SCRATCH_NAME = re.compile(rf"{SCRATCH}[0-9a-f]{{16}}")
TARGET = "/volume"  # where the volume is mounted; the tar stream's names begin with it
OTHER_HOST = 24 * 3600.0  # seconds after which another machine's helper counts as left behind


def find_volume(wire: Wire, name: str) -> Volume | None:
    """Return the volume of exactly this name."""
    if name in {"", ".", ".."}:  # these would make another address of it
        return None
    path = f"/volumes/{quote(name, safe='')}"
    # 301: the engine takes a name with slashes for a path to tidy up; no volume has such a name.
    found = wire.json("GET", path, f"describe volume {name}", allowed=(301, 404))
    volume = answers.volume(answers.mapping(found))
    return volume if volume.name == name else None


class Porter:
    """Opens the volumes of one engine. Safe to use from several threads."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.stamp = stamp.make()  # on all that we leave there, even for a moment
        self._lock = threading.Lock()
        self._image: str | None = None

    def close(self) -> None:
        """Remove our image."""
        with self._lock:
            image, self._image = self._image, None
        if image is not None:
            self._remove_image(image)

    @contextlib.contextmanager
    def opened(
        self,
        name: str,
        *,
        read_only: bool,
        timeout: float = BUSY,
        program: Mapping[str, Any] | None = None,
    ) -> Iterator[str]:
        """Give a container that mounts the volume; it is gone when the block ends. `program`: what
        the engine is told of it instead, where it is to run something.

        Raise NoBackup when there is no such volume: mounting it would make one.
        """
        if find_volume(self._wire, name) is None:
            raise NoBackup(f"there is no volume {name}", "see which there are: docker volume ls")
        helper = f"safedocker-{secrets.token_hex(8)}"
        try:
            self._create(helper, name, read_only, timeout, program or {})
            after = find_volume(self._wire, name)
            made_here = after and HELPER in after.labels and not name.startswith(SCRATCH)
            if after is None or made_here:
                raise NoBackup(
                    f"volume {name} was removed while it was being opened",
                    "see which there are: docker volume ls",
                )
            yield helper
        except BaseException:
            with contextlib.suppress(SafedockerError):
                self._remove_container(helper)
                self._unmake(name)
            raise
        self._remove_container(helper)

    @contextlib.contextmanager
    def opened_path(self, path: str, timeout: float = BUSY) -> Iterator[str]:
        """Give a container that would mount a path of the engine's host, to be read alone; it is
        gone when the block ends. Raise NoBackup when there is no such path."""
        helper = f"safedocker-{secrets.token_hex(8)}"
        mount = {"Type": "bind", "Source": path, "Target": TARGET, "ReadOnly": True}
        self._make(helper, mount, f"mount {path}", timeout)
        try:
            yield helper
        finally:
            self._remove_container(helper)

    def read(
        self, helper: str, path: str = "", timeout: float = SLOW
    ) -> contextlib.AbstractContextManager[Iterator[bytes]]:
        """Give the tar stream of the volume, or of a path in it."""
        return self._wire.reading(
            f"/containers/{helper}/archive",
            "send what is in a volume",
            {"path": posixpath.join(TARGET, path)},
            size=CHUNK,
            timeout=timeout,
            kind=NoBackup,
        )

    def has(self, helper: str, path: str, timeout: float) -> bool:
        """Say whether the volume has this path."""
        stat = self._wire.find(
            "HEAD",
            f"/containers/{helper}/archive",
            "look into a volume",
            {"path": posixpath.join(TARGET, path)},
            timeout=timeout,
        )
        return stat is not None

    def write(self, helper: str, chunks: Iterable[bytes]) -> None:
        """Put a whole volume's tar stream back, its root included."""
        self._wire.send(
            f"/containers/{helper}/archive",
            "write into a volume",
            {"path": posixpath.dirname(TARGET)},
            chunks,
            timeout=SLOW,
            kind=NoBackup,
        )

    def mount(self, path: str, timeout: float = BUSY) -> None:
        """Make a container that would mount a path of the engine's host, and remove it. The engine
        makes nothing there. Raise NoBackup where it refuses, which it does when there is no such
        path."""
        with self.opened_path(path, timeout):
            pass

    @contextlib.contextmanager
    def container_of(self, image: str) -> Iterator[str]:
        """Give a container of an image, never started; it is gone when the block ends. Raise
        NoBackup where there is no such image."""
        helper = f"safedocker-{secrets.token_hex(8)}"
        self._wire.call(
            "POST",
            "/containers/create",
            f"look into image {image}",
            {"name": helper},
            body={
                "Image": image,
                "Cmd": ["never"],
                "Labels": {HELPER: self.stamp},
                "HostConfig": {"NetworkMode": "none", "LogConfig": {"Type": "none"}},
            },
            timeout=BUSY,
            kind=NoBackup,
        )
        try:
            yield helper
        finally:
            self.remove_new(helper)

    def remove_new(self, id_or_name: str) -> None:
        """Remove a container that we made of somebody's image, and the volumes made with it: they
        are as new as it is, and nobody else's, as it was given no mounts."""
        self._wire.find(
            "DELETE",
            f"/containers/{id_or_name}",
            f"remove the helper container {id_or_name}",
            {"force": "1", "v": "1"},
            allowed=(404, 409),
            timeout=BUSY,
        )

    def remove_scratch(self, name: str) -> None:
        """Remove a volume that we made for a moment. One that can't be is swept the next time."""
        path = f"/volumes/{quote(name, safe='')}"
        with contextlib.suppress(SafedockerError):
            self._wire.find("DELETE", path, f"remove {name}", allowed=(404, 409), timeout=BUSY)

    def _create(
        self,
        helper: str,
        volume: str,
        read_only: bool,
        timeout: float,
        program: Mapping[str, Any],
    ) -> None:
        mount = {
            "Type": "volume",
            "Source": volume,
            "Target": TARGET,
            "ReadOnly": read_only,
            # A volume that is there keeps its labels; one that this mount makes gets ours.
            "VolumeOptions": {"NoCopy": True, "Labels": {HELPER: self.stamp}},
        }
        self._make(helper, mount, f"open volume {volume}", timeout, program)

    def _make(
        self,
        helper: str,
        mount: dict[str, object],
        what: str,
        timeout: float,
        program: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        host: dict[str, Any] = {"NetworkMode": "none", "LogConfig": {"Type": "none"}}
        host |= program.get("HostConfig", {})
        host["Mounts"] = [mount, *host.get("Mounts", ())]
        for last in (False, True):
            made = self._wire.find(
                "POST",
                "/containers/create",
                what,
                {"name": helper},
                body={
                    "Image": program.get("Image") or self._own_image(),
                    "Cmd": ["never"],
                    **program,
                    "Labels": {HELPER: self.stamp},
                    "HostConfig": host,
                },
                allowed=() if last else (404,),
                timeout=timeout,
                kind=NoBackup,
            )
            if made is not None:
                return
            with self._lock:
                self._image = None  # somebody pruned it: make another

    def _unmake(self, name: str) -> None:
        """Remove a volume that our own mount made, as somebody had just removed the real one."""
        made = find_volume(self._wire, name)
        if made is not None and made.labels.get(HELPER) == self.stamp:
            path = f"/volumes/{quote(name, safe='')}"
            self._wire.find("DELETE", path, f"remove volume {name}", allowed=(404, 409))

    def _own_image(self) -> str:
        with self._lock:
            if self._image is None:
                changes = ['CMD ["never"]', f"LABEL {HELPER}={self.stamp}"]
                answer = self._wire.call(
                    "POST",
                    "/images/create",
                    "take an empty image",
                    {"fromSrc": "-", "changes": changes},
                    data=bytes(1024),  # a tar of nothing
                    timeout=BUSY,
                    kind=NoBackup,
                )
                found = re.search(r"sha256:[0-9a-f]{64}", answer.text)
                if found is None:
                    raise NoBackup(f"the engine would not take an empty image: {answer.text}")
                self._image = found[0]
            return self._image

    def sweep(self) -> tuple[str, ...]:
        """Remove containers and images of processes that are gone; return the containers' names."""
        swept = []
        params = {"all": "1", "filters": json.dumps({"label": [HELPER]})}
        found = self._wire.json("GET", "/containers/json", "list its containers", params)
        for one in map(answers.mapping, found):
            if self._is_left_behind(one):
                container = answers.container(one)
                with contextlib.suppress(SafedockerError):  # another process may sweep as well
                    self._remove_container(container.id)
                    swept.append(container.name)
        listed = self._wire.json("GET", "/volumes", "list its volumes", params)
        for volume in answers.mappings(answers.mapping(listed), "Volumes"):
            name = answers.text(volume, "Name")
            # Ours alone: the label by itself may have come onto somebody's volume.
            if name.startswith(SCRATCH) and self._is_left_behind(volume):
                self.remove_scratch(name)
        found = self._wire.json("GET", "/images/json", "list its images", params)
        for one in map(answers.mapping, found):
            if self._is_left_behind(one):
                with contextlib.suppress(SafedockerError):
                    self._remove_image(answers.text(one, "Id"))
        return tuple(swept)

    def left_behind(self) -> tuple[str, ...]:
        """What `sweep` would remove: containers, scratch volumes and images, in words."""
        params = {"all": "1", "filters": json.dumps({"label": [HELPER]})}
        found = self._wire.json("GET", "/containers/json", "list its containers", params)
        told = [
            f"container {answers.container(one).name}"
            for one in map(answers.mapping, found)
            if self._is_left_behind(one)
        ]
        listed = self._wire.json("GET", "/volumes", "list its volumes", params)
        for volume in answers.mappings(answers.mapping(listed), "Volumes"):
            name = answers.text(volume, "Name")
            if name.startswith(SCRATCH) and self._is_left_behind(volume):
                told.append(f"volume {name}")
        found = self._wire.json("GET", "/images/json", "list its images", params)
        told += [
            f"image {answers.text(one, 'Id')[:19]}"
            for one in map(answers.mapping, found)
            if self._is_left_behind(one)
        ]
        return tuple(told)

    def _is_left_behind(self, one: dict[str, object]) -> bool:
        alive = stamp.lives(answers.texts(one, "Labels").get(HELPER, ""))
        if alive is not None:
            return not alive
        created = one.get("Created")
        return isinstance(created, int) and time.time() - created > OTHER_HOST

    def _remove_container(self, id_or_name: str) -> None:
        # Never with v=1: that takes volumes. 409: somebody else removes it right now.
        self._wire.find(
            "DELETE",
            f"/containers/{id_or_name}",
            f"remove the helper container {id_or_name}",
            {"force": "1"},
            allowed=(404, 409),
            timeout=BUSY,
        )

    def _remove_image(self, id_: str) -> None:
        self._wire.find(
            "DELETE", f"/images/{id_}", "remove an image", {"force": "1"}, allowed=(404, 409)
        )
