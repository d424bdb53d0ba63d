"""Part of step 2: which host paths a docker command would make, asked of the engine and of this
machine. The rules are loss/mounts.py's.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from safedocker.edge import process
from safedocker.errors import WouldFail
from safedocker.loss import copying as loss_copying
from safedocker.loss import mounts, nearby, operands, reach
from safedocker.loss.facts import COMPOSE_ONEOFF, COMPOSE_SERVICE, Container, Facts, HostPath
from safedocker.survey import copying

if TYPE_CHECKING:
    from safedocker.command.parse import Command
    from safedocker.edge.engine import Engine
    from safedocker.shim import Settled

# From this engine on the mounts are set up before the network: a start that fails for want of a
# network, or of a port, leaves the path behind (seen on 28.5; on 26.1 it does not).
MOUNTS_FIRST = 27
COMPOSE_NUMBER = "com.docker.compose.container-number"
LISTED = 5000  # names in a folder that are compared


def of_run(settled: Settled, engine: Engine, facts: Facts) -> Facts:
    """The facts with the host paths of `docker run`.

    Raise WouldFail where it is certain that Docker makes nothing: it refuses what it is told, or
    fails before the container's mounts are set up.
    """
    command = settled.command
    told = mounts.read(command, settled.versions.docker, process.logical_directory())
    if told.refused:
        raise WouldFail(told.refused)
    if command.on("detach") and command.values("attach"):
        raise WouldFail("conflicting options: --attach and --detach")
    if _wants_terminal(command) and not os.isatty(0):
        raise WouldFail("the input device is not a TTY")
    image = command.operands[0] if command.operands else ""
    paths = [HostPath(bind.source, bind.target, "", image) for bind in told.makes]
    inherited = _of_donors(told.donors, {path.target for path in paths}, engine, facts)
    facts = replace(facts, paths=(*paths, *inherited))
    if not engine.host.looks:
        return replace(facts, paths=tuple(paths), unlooked=True)
    missing = look([path.source for path in facts.paths], engine)
    facts = replace(facts, missing=missing)
    if not any(missing.values()):
        return facts
    if any(look([bind.source for bind in told.needs], engine).values()):
        raise WouldFail("a source of --mount is not there")
    _check_command(settled, engine, facts)
    return described(facts, engine)


def of_containers(settled: Settled, engine: Engine, facts: Facts) -> Facts:
    """The facts with the host paths of the containers, inspected, that start or restart starts."""
    command = settled.command
    if len(command.operands) > 1 and (command.on("attach") or command.on("interactive")):
        raise WouldFail("docker attaches to one container only")
    if not engine.host.looks:
        return facts  # what they mount was there when they were started first
    return _of_each(reach.started_containers(command, facts), engine, facts)


def of_copy(settled: Settled, engine: Engine, facts: Facts) -> Facts:
    """The facts with what `cp` writes over, and with the host paths that it makes: to look into a
    container, running or not, the engine sets up its mounts (seen on 20.10 to 28.5)."""
    command = settled.command
    source, destination = loss_copying.ends(command.operands)
    containers = _copied(settled, source.container or destination.container, facts)
    if containers is None:
        return replace(facts, gaps=(*facts.gaps, "what Compose makes of its files"))
    if source.container:
        containers = containers[:1]
    if not containers:
        raise WouldFail("no such container")
    inspected = [engine.inspect(one) for one in containers]
    sources = [path.source for one in inspected for path in one.binds]
    missing = look(sources, engine)
    paths = tuple(path for one in inspected for path in one.binds)
    facts = replace(facts, paths=paths, missing=missing)
    if any(gone is not False for gone in missing.values()):
        return described(facts, engine)
    follow = command.on("follow-link")
    for one in inspected:
        facts = copying.overwritten(source, destination, one, engine, facts, follow=follow)
    return facts


def _copied(settled: Settled, name: str, facts: Facts) -> tuple[Container, ...] | None:
    """The containers that one end of a copy stands for; for Compose, those of a service, or None
    where its project is not known."""
    command = settled.command
    if command.path[0] != "compose":
        found = operands.find_container(name.strip("/"), facts.containers)
        return () if found is None else (found,)
    model = settled.client.model(command, settled.versions, None)
    if model is None:
        return None
    index = command.value("index") or "0"
    return tuple(
        sorted(
            (
                one
                for one in facts.containers
                if one.project == model.project
                and one.labels.get(COMPOSE_SERVICE) == name
                and (command.on("all") or one.labels.get(COMPOSE_ONEOFF) != "True")
                and index in {"0", one.labels.get(COMPOSE_NUMBER)}
            ),
            key=lambda one: one.name,
        )
    )


def _of_each(containers: Iterable[Container], engine: Engine, facts: Facts) -> Facts:
    each = [one for one in containers if one.binds]
    missing = look([path.source for one in each for path in one.binds], engine)
    if any(missing.values()) and _major(facts) < MOUNTS_FIRST:
        there = engine.host.networks()
        each = [one for one in each if engine.host.networks_of(one.id) <= there]
    paths = tuple(path for one in each for path in one.binds)
    return described(replace(facts, paths=paths, missing=missing), engine)


def look(sources: Iterable[str], engine: Engine) -> dict[str, bool | None]:
    """Which of these paths of the engine's host are missing, and would be made; None: unknown, as
    all are where policy lets nobody look for them.

    A path that is here is there, for an engine of this machine. What is not here may be on the
    other side of a virtual machine's wall, so the engine is asked.
    """
    local = engine.identity.host.startswith("unix:")
    if not engine.host.looks:
        return dict.fromkeys(sources)
    missing: dict[str, bool | None] = {}
    for source in dict.fromkeys(sources):
        if local and process.stands(source):
            missing[source] = False
            continue
        stands = engine.host.stands(source)
        if stands is False and local and process.is_blocked(source):
            stands = True  # the start fails
        missing[source] = None if stands is None else not stands
    return missing


def _of_donors(
    donors: Iterable[str], taken: set[str], engine: Engine, facts: Facts
) -> list[HostPath]:
    """The host paths that a container takes over by --volumes-from: all that its donors mount,
    those of --mount too, but for what it mounts itself at the same place (seen on 20.10 to 28.5).
    """
    paths: dict[str, HostPath] = {}
    for name in donors:
        donor = operands.find_container(name, facts.containers)
        if donor is None:
            raise WouldFail(f"No such container: {name}")
        for mount in engine.inspect(donor).mounts:
            if mount.kind == "bind" and mount.target not in taken:
                paths[mount.target] = HostPath(mount.source, mount.target, "")
    return list(paths.values())


def _check_command(settled: Settled, engine: Engine, facts: Facts) -> None:
    """Raise WouldFail where the container can't be made or, before its mounts are set up, not be
    started."""
    command = settled.command
    name = command.value("name")
    if name and not mounts.is_name(name.removeprefix("/")):
        raise WouldFail(f"Invalid container name ({name})")
    if name and operands.find_container(name.removeprefix("/"), facts.containers) is not None:
        raise WouldFail(f"the name {name} is in use")
    if (file := command.value("cidfile")) and os.path.exists(file):
        raise WouldFail(f"container ID file found: {file}")
    if _major(facts) < MOUNTS_FIRST:
        _check_networks(command, engine, facts)
    pull = command.value("pull") or "missing"
    if pull not in {"always", "missing", "never"}:
        raise WouldFail(f"invalid pull option: {pull}")
    image = command.operands[0] if command.operands else ""
    there = bool(image) and bool(engine.host.image(image))
    if not there and pull == "never":
        raise WouldFail(f"No such image: {image}")
    if (not there or pull == "always") and engine.host.can_pull(image) is False:
        raise WouldFail(f"{image} can't be pulled")
    if there:
        _rehearse(settled, engine)


def _wants_terminal(command: Command) -> bool:
    """Does the client need standard input to be a terminal? Source: docker/cli
    cli/command/container/run.go CheckTty."""
    attached = [stream.lower() for stream in command.values("attach")]
    stdin = "stdin" in attached if attached else command.on("interactive")
    return stdin and command.on("tty") and not command.on("detach")


def _check_networks(command: Command, engine: Engine, facts: Facts) -> None:
    there: frozenset[str] | None = None
    for told in command.values("network"):
        name = told
        if "=" in told:  # name=web,alias=x
            fields = dict(field.partition("=")[::2] for field in told.split(","))
            name = fields.get("name", "")
        if name.startswith("container:"):
            if operands.find_container(name.partition(":")[2], facts.containers) is None:
                raise WouldFail(f"No such container: {name}")
        elif name not in {"", "default", "bridge", "host", "none"}:
            there = engine.host.networks() if there is None else there
            if not any(one.startswith(name) for one in there):
                raise WouldFail(f"network {name} not found")


def _rehearse(settled: Settled, engine: Engine) -> None:
    said = settled.client.rehearse_create(settled.command, engine.host.label)
    if said is None:
        return
    made = said.out.split()
    if made:
        engine.host.forget(made[-1])
    elif said.code != 0 and "connect" not in said.err:
        raise WouldFail(said.err.strip())


def described(facts: Facts, engine: Engine) -> Facts:
    """The facts with what helps a person to see what was meant by a path that is missing."""
    files: dict[str, dict[str, bool]] = {}
    wanted: dict[str, list[str]] = {}
    for path in facts.paths:
        if facts.missing.get(path.source) and path.image:
            wanted.setdefault(path.image, []).append(path.target)
    for image, targets in wanted.items():
        files[image] = engine.host.files(image, targets)
    local = engine.identity.host.startswith("unix:")
    paths = tuple(
        replace(
            path,
            file=files.get(path.image, {}).get(path.target),
            near=_near(path.source) if local else (),
        )
        if facts.missing.get(path.source)
        else path
        for path in facts.paths
    )
    return replace(facts, paths=paths)


def _near(source: str) -> tuple[str, ...]:
    """Paths that are there, with names like that of the first part that is missing."""
    parent, rest = os.path.dirname(source), [os.path.basename(source)]
    while not os.path.isdir(parent):
        parent, name = os.path.split(parent)
        rest.insert(0, name)
    try:
        with os.scandir(parent) as entries:
            names = [entry.name for _, entry in zip(range(LISTED), entries, strict=False)]
    except OSError:
        return ()
    near = (os.path.join(parent, name, *rest[1:]) for name in nearby.nearest(rest[0], names))
    folder = process.logical_directory().rstrip("/") + "/"
    return tuple(
        "./" + path.removeprefix(folder) if path.startswith(folder) else path
        for path in near
        if os.path.exists(path)
    )


def make(source: str, *, file: bool) -> None:
    """Make a host path as the person who calls: a folder, or an empty file. Raise OSError."""
    if file:
        os.makedirs(os.path.dirname(source), exist_ok=True)
        with open(source, "x", encoding="utf-8"):
            return
    os.makedirs(source, exist_ok=True)


def _major(facts: Facts) -> int:
    number = facts.engine.version.partition(".")[0] if facts.engine else ""
    return int(number) if number.isdecimal() else MOUNTS_FIRST
