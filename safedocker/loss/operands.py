"""What an operand names. Docker's client joins it into the path of its request and cleans that, so
`docker rm ../volumes/x` deletes the volume x. Pure; hot."""

from __future__ import annotations

import os

from safedocker.command.parse import Command
from safedocker.command.record import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TypeVar

    from safedocker.loss.facts import Container, Plugin, Service, SwarmItem

    _Item = TypeVar("_Item", Service, SwarmItem)

# The commands that send DELETE /COLLECTION/OPERAND for each of their operands.
# Source: docker/cli cli/command/*/remove.go; moby client/client.go getAPIPath (path.Join).
COLLECTIONS: dict[tuple[str, ...], str] = {
    ("container", "rm"): "containers",
    ("volume", "rm"): "volumes",
    ("image", "rm"): "images",
    ("network", "rm"): "networks",
    ("plugin", "rm"): "plugins",
    ("secret", "rm"): "secrets",
    ("config", "rm"): "configs",
    ("service", "rm"): "services",
    ("node", "rm"): "nodes",
}
CHECKPOINT = ("checkpoint", "rm")  # DELETE /containers/CONTAINER/checkpoints/CHECKPOINT

SLASHED = {"images", "containers", "plugins"}  # their names may have slashes
TRIMS_BLANKS = (27,)  # 26.1 was seen to keep them, 28.5 to drop them


class Target(NamedTuple):
    """What a request deletes: ("volumes", "x"), and the operand that says so."""

    collection: str
    name: str
    operand: str


def targets(command: Command, docker: tuple[int, ...] | None) -> tuple[Target, ...]:
    """What each operand of a removing command really addresses, in order.

    `docker` is the client's version: newer ones drop blanks around an operand. An operand that
    addresses nothing the engine serves is left out: Docker says so itself.
    """
    operands = command.operands
    collection = COLLECTIONS.get(command.path)
    if command.path == CHECKPOINT and len(operands) == 2:
        collection, operands = f"containers/{operands[0]}/checkpoints", operands[1:]
    if collection is None:
        return ()
    found = (address(collection, operand, docker) for operand in operands)
    return tuple(target for target in found if target is not None)


def containers(command: Command, docker: tuple[int, ...] | None) -> tuple[str, ...]:
    """The names of the containers that stop, kill, start or restart address: they are paths too,
    `docker start ./web` and `../containers/web` start web (seen on 20.10 to 28.5)."""
    found = (address("containers", operand, docker) for operand in command.operands)
    return tuple(one.name for one in found if one is not None and one.collection == "containers")


def wanders(command: Command) -> bool:
    """Does an operand lead out of its collection, or back into it another way?"""
    return any(
        part in {".", ".."} for operand in command.operands for part in operand.strip().split("/")
    )


def address(collection: str, operand: str, docker: tuple[int, ...] | None) -> Target | None:
    """What a request for an operand of a collection addresses; None: nothing that is served."""
    trims = docker is None or docker >= TRIMS_BLANKS
    written = operand.strip() if trims else operand
    if collection == "containers":
        written = written.strip("/")
    if not written:
        return None
    path = os.path.normpath(f"/v1.0/{collection}/{written}")  # posix: the engine's and the URL's
    parts = path.strip("/").split("/")
    if parts[0][:1] == "v" and parts[0][1:].replace(".", "").isdecimal():
        parts = parts[1:]
    if len(parts) > 2 and parts[0] in SLASHED:
        return Target(parts[0], "/".join(parts[1:]), operand)
    return Target(parts[0], parts[1], operand) if len(parts) == 2 else None


def find_container(name: str, containers: Iterable[Container]) -> Container | None:
    """The container a name, a full id or an unambiguous prefix of an id stands for.

    Source: moby daemon/container.go GetContainer: an id, then a name, then a prefix.
    """
    every = tuple(containers)
    for container in every:
        if container.id == name:
            return container
    for container in every:
        if container.name == name or name in container.aliases:
            return container
    starts = [container for container in every if container.id.startswith(name)]
    return starts[0] if len(starts) == 1 else None


def find_item(name: str, items: Iterable[_Item], *, fold: bool = False) -> _Item | None:
    """The item that a full id, a name or an unambiguous prefix of an id stands for. `fold`: the
    swarm looks secrets and configs up by their names in small letters.

    Source: moby daemon/cluster/helpers.go getService, getSecret, getConfig; moby/swarmkit
    manager/controlapi/secret.go. Seen on 20.10 and 26.1.
    """
    every = tuple(items)
    for item in every:
        if item.id == name:
            return item
    for item in every:
        if item.name == name or (fold and item.name.lower() == name.lower()):
            return item
    starts = [item for item in every if item.id.startswith(name)]
    return starts[0] if len(starts) == 1 else None


def find_plugin(name: str, plugins: Iterable[Plugin]) -> Plugin | None:
    """The plugin that a name, a full id or an unambiguous prefix of an id stands for.

    Source: moby plugin/store.go GetV2Plugin, resolvePluginID; distribution/reference TagNameOnly.
    """
    every = tuple(plugins)
    full = name if ":" in name.rpartition("/")[2] else f"{name}:latest"
    for plugin in every:
        if name == plugin.id or full == plugin.name:
            return plugin
    starts = [plugin for plugin in every if plugin.id.startswith(name)]
    return starts[0] if len(starts) == 1 else None
