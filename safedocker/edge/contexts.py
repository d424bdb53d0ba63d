"""The contexts of a client's configuration: files of this machine, read and put back.

Source: docker/cli cli/context/store: contexts/meta/DIGEST/meta.json, contexts/tls/DIGEST/...
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safedocker.edge import address, answers
from safedocker.errors import NoContext, NoEngine, SafedockerError, WouldFail
from safedocker.loss.facts import Context

# From here on the client removes contexts whether the one in force is there or not: 20.10 was seen
# to do nothing where it is missing, 26.1 not to look at it.
CARELESS = (23,)
PARTS = {"meta": 0o755, "tls": 0o700}  # the folders of a context, as the client makes them


def named(
    names: Sequence[str],
    options: Mapping[str, str],
    environ: Mapping[str, str],
    client: tuple[int, ...] | None,
) -> tuple[Context, ...]:
    """Return those of these contexts that are there. `options` are docker's global ones.

    Raise WouldFail where the client would refuse before it removes anything.
    """
    try:
        current, folder = address.context_in_force(options, environ, client)
    except NoEngine as fault:
        raise WouldFail(fault.message) from fault
    if client is not None and client < CARELESS:
        try:
            address.resolve(options, environ, client)
        except NoContext as fault:
            raise WouldFail(fault.message) from fault
        except NoEngine:
            pass  # another fault of the one in force, which this client may not mind
    store = Contexts(folder)
    return tuple(
        Context(name, name == current, store.host(name), store.has_tls(name), str(folder))
        for name in dict.fromkeys(names)
        if store.holds(name)
    )


class Contexts:
    """The contexts in one folder of configuration."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _place(self, part: str, name: str) -> Path:
        digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()
        return self.folder / "contexts" / part / digest

    def holds(self, name: str) -> bool:
        """Is there anything of this context?"""
        return any(self._place(part, name).is_dir() for part in PARTS)

    def has_tls(self, name: str) -> bool:
        """Do files of TLS belong to it?"""
        return any(path.is_file() for path in self._place("tls", name).rglob("*"))

    def host(self, name: str) -> str:
        """The address of its engine; "" where that can't be read."""
        try:
            meta = json.loads((self._place("meta", name) / "meta.json").read_bytes())
        except (OSError, ValueError):
            return ""
        endpoints = answers.mapping(answers.mapping(meta).get("Endpoints"))
        return answers.text(answers.mapping(endpoints.get("docker")), "Host")

    def read(self, name: str) -> bytes | None:
        """Return a context as a record: all its files with their modes; None when there is none.

        The same files give the same bytes. Raise SafedockerError when one can't be read.
        """
        if not self.holds(name):
            return None
        body: dict[str, Any] = {"name": name}
        try:
            for part in PARTS:
                place = self._place(part, name)
                body[part] = {
                    str(path.relative_to(place)): {
                        "mode": path.stat().st_mode & 0o7777,
                        "data": base64.b64encode(path.read_bytes()).decode("ascii"),
                    }
                    for path in sorted(place.rglob("*"))
                    if path.is_file()
                }
        except OSError as fault:
            raise SafedockerError(
                f"the context {name} can't be read: {fault.strerror}",
                f"make {fault.filename} readable for this user",
            ) from fault
        return json.dumps(body, indent=1, sort_keys=True).encode("ascii") + b"\n"

    def create(self, record: bytes) -> None:
        """Put a context of a record there; what makes it one is written last.

        Raise SafedockerError when there is one of that name, or it can't be written.
        """
        body = json.loads(record)
        name = body["name"]
        if self.holds(name):
            raise SafedockerError(
                f"there is a context {name} already",
                f"see what it is: docker context inspect {name}",
            )
        try:
            for part in reversed(PARTS):
                if body[part]:
                    self._write(self._place(part, name), body[part], PARTS[part])
        except OSError as fault:
            for part in PARTS:
                shutil.rmtree(self._place(part, name), ignore_errors=True)
            raise SafedockerError(
                f"the context {name} can't be written: {fault.strerror}",
                f"make {self.folder} writable for this user",
            ) from fault

    def _write(self, place: Path, files: Mapping[str, Mapping[str, Any]], mode: int) -> None:
        """Write the files beside their place, and rename the folder into it."""
        for parent in (self.folder, place.parent.parent):
            parent.mkdir(parents=True, exist_ok=True)
        place.parent.mkdir(mode=mode, exist_ok=True)
        beside = place.with_name(f".{place.name}.{os.getpid()}")
        try:
            for inner, file in files.items():
                target = beside / inner
                if not target.resolve().is_relative_to(beside.resolve()):
                    raise SafedockerError(
                        f"the record of a context names a file outside of it: {inner}",
                        "put it back from a copy of the backup's folder",
                    )
                for folder in reversed((target.parent, *target.parent.parents)):
                    if folder.is_relative_to(beside):
                        folder.mkdir(mode=mode, exist_ok=True)
                target.touch(mode=0o600)
                target.write_bytes(base64.b64decode(file["data"]))
                target.chmod(file["mode"])
            beside.rename(place)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
