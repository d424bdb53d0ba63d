"""Stands for trials: scratch volumes and containers of our own that do run, on no network. What is
tried is backup/drill.py's. All carry our label, so that they are swept if we are killed."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from safedocker.edge import answers
from safedocker.edge.execution import execute, frames
from safedocker.edge.porter import BUSY, SCRATCH, SLOW, Porter
from safedocker.edge.running import find_container
from safedocker.edge.wire import Wire
from safedocker.errors import NoBackup, SafedockerError
from safedocker.loss.facts import HELPER

_NOT_FOUND = 127  # a shell's exit code for a program that is not there


class Trial:
    """One container that runs."""

    def __init__(self, wire: Wire, id_: str) -> None:
        self._wire = wire
        self._id = id_

    def run(self, argv: Sequence[str]) -> tuple[int, str]:
        """Run a program in it; return its exit code and what it printed on stdout. One that is not
        there, or a container that ended, counts as a failure."""
        try:
            with execute(self._wire, self._id, argv, {}, None, SLOW) as program:
                said = b"".join(program)
        except NoBackup:
            return _NOT_FOUND, ""
        return program.exit_code, said.decode("utf-8", "replace")

    def exit_code(self) -> int | None:
        """Its exit code; None while it runs."""
        state = answers.mapping((find_container(self._wire, self._id) or {}).get("State"))
        if state.get("Running") is True:
            return None
        code = state.get("ExitCode")
        return code if isinstance(code, int) else _NOT_FOUND

    def log(self, lines: int) -> tuple[str, ...]:
        """The last lines that it wrote."""
        params = {"stdout": "1", "stderr": "1", "tail": str(lines)}
        path = f"/containers/{self._id}/logs"
        said = self._wire.find("GET", path, "send a trial's log", params)
        if said is None:
            return ()
        written = b"".join(content for _stream, content in frames(iter([said.content])))
        return tuple(written.decode("utf-8", "replace").splitlines()[-lines:])


class Trials:
    """Makes them on one engine, and takes them away."""

    def __init__(self, wire: Wire, porter: Porter) -> None:
        self._wire = wire
        self._porter = porter

    @contextlib.contextmanager
    def scratch(self) -> Iterator[str]:
        """Give a new volume; it is gone when the block ends."""
        name = f"{SCRATCH}{secrets.token_hex(8)}"
        self._wire.call(
            "POST",
            "/volumes/create",
            "make a scratch volume",
            body={"Name": name, "Labels": {HELPER: self._porter.stamp}},
            timeout=BUSY,
            kind=NoBackup,
        )
        try:
            yield name
        finally:
            self._porter.remove_scratch(name)

    def image(self, name: str) -> tuple[str, tuple[str, ...]] | None:
        """An image's id and its own command; None where it is not on the engine."""
        found = self._image(name)
        if found is None:
            return None
        config = answers.mapping(found.get("Config"))
        command = tuple(map(str, answers.sequence(config, "Cmd")))
        return answers.text(found, "Id"), command

    def _image(self, name: str) -> dict[str, Any] | None:
        path = f"/images/{quote(name, safe='/:@')}/json"
        found = self._wire.json("GET", path, f"inspect image {name}", allowed=(400, 404))
        return None if found is None else answers.mapping(found)

    @contextlib.contextmanager
    def trial(
        self,
        image: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        user: str,
        volumes: Mapping[str, str],
    ) -> Iterator[Trial]:
        """Give a container of an image that runs, with volumes at their targets; it is gone when
        the block ends. () is the image's own command, "" its own user.

        Raise NoBackup when the engine would not start it.
        """
        config = answers.mapping((self._image(image) or {}).get("Config"))
        mounts: list[dict[str, Any]] = [
            {"Type": "volume", "Source": name, "Target": target, "VolumeOptions": {"NoCopy": True}}
            for target, name in volumes.items()
        ]
        declared = map(str, answers.mapping(config.get("Volumes")))
        # In memory: an anonymous volume would stay behind if we were killed.
        mounts += [{"Type": "tmpfs", "Target": at} for at in declared if at not in volumes]
        name = f"safedocker-{secrets.token_hex(8)}"
        body: dict[str, Any] = {
            "Image": image,
            "User": user,
            "Env": [f"{key}={value}" for key, value in environment.items()],
            "Labels": {HELPER: self._porter.stamp},
            "Healthcheck": {"Test": ["NONE"]},
            "HostConfig": {
                "NetworkMode": "none",
                "LogConfig": {"Type": "json-file"},
                "Mounts": mounts,
            },
        }
        if command:
            body["Cmd"] = list(command)
        self._wire.call(
            "POST",
            "/containers/create",
            f"make a container of {image}",
            {"name": name},
            body=body,
            timeout=BUSY,
            kind=NoBackup,
        )
        try:
            path = f"/containers/{name}/start"
            self._wire.call("POST", path, "start a trial", timeout=BUSY, kind=NoBackup)
            yield Trial(self._wire, name)
        finally:
            with contextlib.suppress(SafedockerError):  # what is left is swept the next time
                self._porter.remove_new(name)
