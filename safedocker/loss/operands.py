"""What an operand names. Docker's client joins it into the path of its request and cleans that, so
`docker rm ../volumes/x` deletes the volume x. Pure; hot."""

from __future__ import annotations

import os

from safedocker.command.parse import Command
from safedocker.command.record import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from safedocker.loss.facts import Container

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
    trims = docker is None or docker >= TRIMS_BLANKS
    collection = COLLECTIONS.get(command.path)
    if collection is None:
        return ()
    found = (_target(collection, operand, trims) for operand in command.operands)
    return tuple(target for target in found if target is not None)


def containers(command: Command, docker: tuple[int, ...] | None) -> tuple[str, ...]:
    """The names of the containers that stop, kill, start or restart address: they are paths too,
    `docker start ./web` and `../containers/web` start web (seen on 20.10 to 28.5)."""
    trims = docker is None or docker >= TRIMS_BLANKS
    found = (_target("containers", operand, trims) for operand in command.operands)
    return tuple(one.name for one in found if one is not None and one.collection == "containers")


def wanders(command: Command) -> bool:
    """Does an operand lead out of its collection, or back into it another way?"""
    return any(
        part in {".", ".."} for operand in command.operands for part in operand.strip().split("/")
    )


def _target(collection: str, operand: str, trims: bool) -> Target | None:
    written = operand.strip() if trims else operand
    if collection == "containers":
        written = written.strip("/")
    if not written:
        return None
    path = os.path.normpath(f"/v1.0/{collection}/{written}")  # posix: the engine's and the URL's
    parts = path.strip("/").split("/")
    if parts[0][:1] == "v" and parts[0][1:].replace(".", "").isdecimal():
        parts = parts[1:]
    if len(parts) > 2 and parts[0] in {"images", "containers"}:  # their names may have slashes
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
