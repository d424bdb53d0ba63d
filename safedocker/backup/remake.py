"""Containers that an undo makes again: which stand there already, what each hangs on, and in which
order. One that can't be made stops no other; what ran is started once all are made.

How a container is kept is layers.py's, how the engine makes one edge/container.py's.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from safedocker.backup import layers
from safedocker.backup.layers import Head
from safedocker.backup.manifest import Part
from safedocker.backup.refill import Step
from safedocker.backup.restores import Journal, entry
from safedocker.backup.ways import Engine
from safedocker.errors import SafedockerError
from safedocker.loss.facts import Container

_SWARM = "com.docker.swarm."  # a container with these would be taken for a task
_SHARED = {"NetworkMode": "the network", "PidMode": "the processes", "IpcMode": "the memory"}
_OTHER = "container:"
BEFORE = "put back by an earlier undo; not compared"
STAYED = "it was never removed; not compared"


@dataclass(frozen=True)
class Target:
    """A container to be put back, under a name. `id` is what stands there already, "" nothing;
    `told` says what that is. `settled`: nothing is left to be done about it."""

    part: Part
    name: str
    head: Head
    id: str = ""
    settled: bool = False
    told: str = ""

    @property
    def was(self) -> str:
        """The ID it had."""
        return str(self.head.definition.get("Id") or "")

    @property
    def step(self) -> Step:
        """What is to be done."""
        return Step.NOTHING if self.id else Step.CREATE


@dataclass(frozen=True)
class Failed:
    """A container that is not as it was. `made`: it is there, and does not run as it did."""

    part: Part
    name: str
    made: bool
    fault: SafedockerError


def find_target(
    part: Part,
    name: str,
    head: Head,
    engine: Engine,
    containers: Iterable[Container],
    journal: Journal,
) -> Target:
    """Say what stands in a container's place. Raise SafedockerError when that is another one.

    What an undo of this backup made is told by its ID. One that was killed before it could write
    that down leaves a container that never ran, of an image that ends in the very layer.
    """
    line = journal.line(entry(part, name))
    ids = {one.id for one in containers}
    if line and line.made in ids:
        return Target(part, name, head, line.made, line.done, BEFORE)
    namesake = next((one for one in containers if one.name == name), None)
    if namesake is None:
        return Target(part, name, head)
    if namesake.id == head.definition.get("Id"):
        return Target(part, name, head, namesake.id, settled=True, told=STAYED)
    begun = line is not None and not line.done and not line.made and namesake.state == "created"
    if begun and engine.maker.top_layer(namesake.image_id) == head.digest:
        return Target(part, name, head, namesake.id, told=BEFORE)
    raise SafedockerError(
        f"there is another container {name}: nothing was changed",
        f"put it back beside that one with --as NEW, or remove that one first: docker rm {name}",
    )


def put_back(
    targets: Sequence[Target],
    open_part: Callable[[Part], Iterable[bytes]],
    engine: Engine,
    journal: Journal,
    successors: Callable[[], Mapping[str, str]],
) -> tuple[Failed, ...]:
    """Make them all, each after those it hangs on, and then start those that ran. Each is written
    down as soon as it is made, and as done once it runs.

    `successors` gives the containers that stand for others by now, by the ID of those.
    """
    failed: list[Failed] = []
    made: list[tuple[Target, str]] = []
    known = _Known(targets, engine, functools.cache(successors))
    for target in _in_order(targets):
        id_ = target.id
        try:
            if not target.settled:
                id_ = id_ or _make(target, known, open_part, engine, journal)
                journal.state(target.part, target.name, done=False, made=id_, was=target.was)
                journal.notes += engine.maker.join(id_, target.name, target.head.definition)
                made.append((target, id_))
        except (SafedockerError, OSError) as fault:
            failed.append(Failed(target.part, target.name, bool(id_), _said(fault)))
        if id_:
            known.add(target, id_)
    for target, id_ in made:
        try:
            if target.head.ran:
                engine.start((id_,))
        except SafedockerError as fault:
            failed.append(Failed(target.part, target.name, True, fault))
            continue
        journal.state(target.part, target.name, done=True, made=id_, was=target.was)
    return tuple(failed)


def _said(fault: SafedockerError | OSError) -> SafedockerError:
    if isinstance(fault, SafedockerError):
        return fault
    return SafedockerError(f"its file can't be read: {fault.strerror or fault}")


def _make(
    target: Target,
    known: _Known,
    open_part: Callable[[Part], Iterable[bytes]],
    engine: Engine,
    journal: Journal,
) -> str:
    """Raise SafedockerError when the engine would not, or a volume that it mounts is not there: an
    empty one of that name would be made."""
    part, name = target.part, target.name
    definition = known.told_anew(target.head.definition)
    for mount in definition.get("Mounts") or ():
        volume = mount.get("Name", "") if mount.get("Type") == "volume" else ""
        if volume and engine.volume(volume) is None:
            raise SafedockerError(
                f"the container {name} mounts the volume {volume}, which is not there: an empty "
                "one would be made",
                "put that volume back first",
            )
    journal.state(part, name, done=False)
    head, layer = layers.opened(open_part(part))
    return engine.maker.make(name, definition, head.digest, head.size, layer)


class _Known:
    """What containers go by now, that others hang on."""

    def __init__(
        self,
        targets: Iterable[Target],
        engine: Engine,
        successors: Callable[[], Mapping[str, str]],
    ) -> None:
        _volumes, containers = engine.snapshot()
        self._there = {one.id for one in containers} | {one.name for one in containers}
        self._ids: dict[str, str] = {}
        self._names = {one.part.name: one.name for one in targets}
        self._successors = successors

    def add(self, target: Target, id_: str) -> None:
        """It stands there."""
        self._ids |= {target.was: id_, target.part.name: id_}
        self._there |= {id_, target.name}

    def told_anew(self, definition: Mapping[str, Any]) -> dict[str, Any]:
        """The definition of a container that hangs on those that stand there now, and belongs to no
        swarm. Raise SafedockerError when it shares with one that is not there."""
        config = dict(definition.get("Config") or {})
        labels = config.get("Labels") or {}
        config["Labels"] = {key: one for key, one in labels.items() if not key.startswith(_SWARM)}
        host = dict(definition.get("HostConfig") or {})
        for key, what in _SHARED.items():
            mode = str(host.get(key) or "")
            if mode.startswith(_OTHER):
                host[key] = _OTHER + self._now(mode.removeprefix(_OTHER), what)
        host["Links"] = [self._link(one) for one in host.get("Links") or ()] or None
        return {**definition, "Config": config, "HostConfig": host}

    def _now(self, other: str, what: str) -> str:
        """What one goes by now that was meant by an ID or a name."""
        seen: set[str] = set()
        now = self._ids.get(other, other)
        while now not in self._there and now not in seen:
            seen.add(now)
            now = self._successors().get(now, now)
        if now not in self._there:
            raise SafedockerError(
                f"it shares {what} of the container {other[:12]}, which is not there",
                "put that container back first",
            )
        return now

    def _link(self, link: str) -> str:
        """A link as the engine tells it, "/other:/own/alias", to what the other is called now."""
        other, colon, rest = link.partition(":")
        name = other.removeprefix("/")
        return f"/{self._names.get(name, name)}{colon}{rest}"


def _hangs_on(definition: Mapping[str, Any]) -> Iterator[str]:
    """The containers, by ID or name, that are to be there before this one."""
    host = definition.get("HostConfig") or {}
    for key in _SHARED:
        mode = str(host.get(key) or "")
        if mode.startswith(_OTHER):
            yield mode.removeprefix(_OTHER)
    links = [*(host.get("Links") or ())]
    networks = (definition.get("NetworkSettings") or {}).get("Networks") or {}
    for endpoint in networks.values():
        links += (endpoint or {}).get("Links") or ()
    for link in links:
        yield link.partition(":")[0].removeprefix("/")


def _in_order(targets: Sequence[Target]) -> list[Target]:
    """Each after those it hangs on, as far as they are among them; else in the order given."""
    named = {name: one for one in targets for name in (one.was, one.part.name)}
    ordered: list[Target] = []
    begun: set[str] = set()

    def put(target: Target) -> None:
        if target.part.name in begun:
            return
        begun.add(target.part.name)
        for name in _hangs_on(target.head.definition):
            if name in named:
                put(named[name])
        ordered.append(target)

    for one in targets:
        put(one)
    return ordered
