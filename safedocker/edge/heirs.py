"""Containers that an engine does not count as users of what they mount.

One that was made with --volumes-from, and has not been started since, holds no reference to the
volumes its donor was given by name: they can be removed under it, and `rm -v` of the donor takes
those that are anonymous (seen on 20.10 to 28.5). Its start, and a start of the engine, mend that.
Source: moby daemon/volumes.go registerMountPoints, which asks for a reference only where no source
is known yet.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from safedocker.edge import answers
from safedocker.edge.running import find_container
from safedocker.edge.weights import find_volumes
from safedocker.edge.wire import Wire
from safedocker.loss.facts import Container

_SECONDS = 20.0  # how long the engine may count


def tell(wire: Wire, containers: tuple[Container, ...]) -> tuple[Container, ...]:
    """The containers, with `held` False for each mount that the engine does not count, or may not
    count. Raise NoEngine."""
    heirs = {one.id: taken for one in containers if (taken := _taken_over(wire, one))}
    if not heirs:
        return containers
    mounting = Counter(
        volume for one in containers for volume in {m.volume for m in one.mounts if m.volume}
    )
    counted = {
        answers.text(one, "Name"): answers.mapping(one.get("UsageData")).get("RefCount")
        for one in find_volumes(wire, _SECONDS)
    }
    sure = {
        volume
        for volume, users in mounting.items()
        if isinstance(count := counted.get(volume), int) and count >= users
    }
    return tuple(
        replace(
            one,
            mounts=tuple(
                replace(m, held=m.target not in heirs[one.id] or m.volume in sure)
                for m in one.mounts
            ),
        )
        if one.id in heirs
        else one
        for one in containers
    )


def _taken_over(wire: Wire, container: Container) -> frozenset[str]:
    """The targets of the volumes that a container has of another one and never mounted."""
    if container.state != "created" or not any(m.volume for m in container.mounts):
        return frozenset()
    found = find_container(wire, container.id)
    if not answers.sequence(answers.mapping((found or {}).get("HostConfig")), "VolumesFrom"):
        return frozenset()
    return frozenset(
        mount.target
        for mount in container.mounts
        if mount.volume and answers.asked_source(found or {}, mount.target) is None
    )
