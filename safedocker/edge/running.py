"""Stops, pauses and starts the containers of one engine."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from safedocker.edge import answers
from safedocker.edge.porter import BUSY, SLOW
from safedocker.edge.wire import Wire
from safedocker.errors import NoBackup, SafedockerError

_AT_ONCE = 4  # containers stopped at the same time
KILLED = 137  # 128 + SIGKILL: the exit code of a container that did not stop by itself


@dataclass(frozen=True)
class Stopped:
    """A container that `stop` stopped, or `pause` paused."""

    id: str
    name: str
    exit_code: int
    clean: bool  # it ended by its own stop signal; False: it had to be killed
    paused: bool = False


def find_container(wire: Wire, id_or_name: str) -> dict[str, Any] | None:
    """Return what the engine says of a container; None when there is none."""
    path = f"/containers/{quote(id_or_name, safe='')}/json"
    found = wire.json("GET", path, f"inspect container {id_or_name}", allowed=(404,))
    return None if found is None else answers.mapping(found)


class Runner:
    """Stops and starts over one wire. Safe to use from several threads."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def stop(self, ids: Sequence[str]) -> tuple[Stopped, ...]:
        """Stop containers, several at a time, each by its own signal and in its own time.

        In the order of `ids`. Raise NoBackup before anything is stopped when one of them would
        remove itself, and its anonymous volumes with it.
        """
        found = [find_container(self._wire, id_) or {} for id_ in ids]
        for one in found:
            if removes_itself(one):
                raise NoBackup(
                    f"container {_name(one)} can't be stopped for a backup: it would remove itself",
                    "stop it yourself",
                )
        if not ids:
            return ()
        with concurrent.futures.ThreadPoolExecutor(min(len(ids), _AT_ONCE)) as pool:
            return tuple(pool.map(self._stop, ids, found))

    def _stop(self, id_: str, before: dict[str, Any]) -> Stopped:
        own = answers.mapping(before.get("Config")).get("StopTimeout")
        own = own if isinstance(own, int) else 10
        patience = SLOW if own < 0 else BUSY + own  # below 0 it may take as long as it likes
        self._wire.call(
            "POST",
            f"/containers/{id_}/stop",
            f"stop container {_name(before) or id_}",
            timeout=patience,
            kind=NoBackup,
        )
        after = find_container(self._wire, id_) or before
        state = answers.mapping(after.get("State"))
        code = state.get("ExitCode")
        code = code if isinstance(code, int) else KILLED
        clean = code != KILLED and state.get("OOMKilled") is not True
        return Stopped(id_, _name(after), code, clean)

    def pause(self, ids: Sequence[str]) -> tuple[Stopped, ...]:
        """Freeze containers as they are; one that is frozen already is left alone."""
        frozen = []
        for id_ in ids:
            found = find_container(self._wire, id_) or {}
            if not _is_paused(found):
                self._pause(id_, found)
            frozen.append(Stopped(id_, _name(found), 0, clean=False, paused=True))
        return tuple(frozen)

    def _pause(self, id_: str, found: dict[str, Any]) -> None:
        name = _name(found) or id_
        path = f"/containers/{id_}/pause"
        try:
            self._wire.call("POST", path, f"pause container {name}", timeout=BUSY, kind=NoBackup)
        except NoBackup as fault:
            # Without control groups, as rootless engines often run, no container can be.
            hint = f"stop it first: docker stop {name}"
            if removes_itself(found):
                hint = (
                    "it was started with --rm, so that a stop takes its anonymous volumes; copy "
                    f"what you need out of it first: docker cp {name}:PATH ."
                )
            raise NoBackup(fault.message, hint) from fault

    def start(self, ids: Iterable[str]) -> None:
        """Start containers, one after the other, and thaw what is paused; one that runs already
        is left alone.

        All are tried; then the first fault is raised.
        """
        first: SafedockerError | None = None
        for id_ in ids:
            try:
                verb = "unpause" if _is_paused(find_container(self._wire, id_) or {}) else "start"
                self._wire.call(
                    "POST",
                    f"/containers/{id_}/{verb}",
                    f"{verb} container {id_[:12]} again",
                    timeout=BUSY,
                    kind=SafedockerError,
                )
            except SafedockerError as fault:
                first = first or fault
        if first is not None:
            raise first


def removes_itself(inspected: dict[str, Any]) -> bool:
    """Was the container started with --rm?"""
    return answers.mapping(inspected.get("HostConfig")).get("AutoRemove") is True


def _is_paused(inspected: dict[str, Any]) -> bool:
    return answers.mapping(inspected.get("State")).get("Paused") is True


def _name(inspected: dict[str, Any]) -> str:
    return answers.text(inspected, "Name").removeprefix("/")
