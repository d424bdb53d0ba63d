"""What is at stake with one loss, whoever calls and whatever the policy. Pure."""

from __future__ import annotations

import enum
from typing import assert_never

from safedocker.loss.facts import Bytes, Holds
from safedocker.loss.plan import Kind, Loss
from safedocker.policy.options import HEAVY


class Stake(enum.Enum):
    """What is at stake with one loss."""

    NOTHING = "nothing"
    DEFINITION = "definition"  # all that goes can be written down, and made again
    DISPOSABLE = "disposable"  # declared so by --rm, and it holds something all the same
    WEIGHTY = "weighty"  # a container's own files, or a disposable volume, above the line
    DATA = "data"
    FOR_GOOD = "for good"  # nothing can read it, so nothing can bring it back
    MISPLACED = "misplaced"  # nothing goes; what is written from now on lands elsewhere


def protectable(loss: Loss) -> bool:
    """Is there a way to protect it? Those are backup/ways.py's."""
    return loss.kind.is_volume or loss.kind in {Kind.LAYER, Kind.CONFIG, Kind.CONTEXT}


def weigh(loss: Loss, above: int = HEAVY) -> tuple[Stake, str]:
    """Given a loss that was looked into, return what is at stake, and why. `above` so many bytes a
    container's own files, and a volume that --rm declared disposable, are worth a question.

    What could not be seen is read as the worst.
    """
    match loss.kind:
        case Kind.NAMED_VOLUME | Kind.ANONYMOUS_VOLUME:
            return _weigh_volume(loss, above)
        case Kind.LAYER | Kind.FILE:
            if _heavy(loss, above):
                return Stake.WEIGHTY, _weight(loss)
            return Stake.NOTHING, f"no database, and at most {Bytes(above)}"
        case Kind.SECRET:
            return Stake.FOR_GOOD, "a secret's value can't be read back"
        case Kind.SWARM:
            return Stake.FOR_GOOD, "with the last manager goes all that the swarm knew"
        case Kind.BIND_SOURCE:
            return Stake.MISPLACED, "Docker would make it, empty and root's"
        case Kind.PLUGIN:
            if loss.used_by:
                return Stake.FOR_GOOD, "volumes of this plugin would be out of reach"
            return Stake.NOTHING, "it can be installed again"
        case Kind.CONFIG | Kind.CONTEXT:
            return Stake.DEFINITION, "it can be read, and made again"
        case Kind.SERVICE:
            return Stake.NOTHING, "its definition holds no data"
        case Kind.DETACHED_VOLUME:
            return Stake.NOTHING, "it stays on the disk, without a container"
        case Kind.IMAGE:
            return Stake.NOTHING, "it can be pulled or built again"
        case Kind.BUILD_CACHE:
            return Stake.NOTHING, "it can be built again"
        case _:
            assert_never(loss.kind)


def _weigh_volume(loss: Loss, above: int) -> tuple[Stake, str]:
    if loss.disposable:
        if loss.holds is Holds.EMPTY:
            return Stake.NOTHING, "empty, of a container started with --rm"
        if _heavy(loss, above):
            return Stake.WEIGHTY, _weight(loss)
        return Stake.DISPOSABLE, "of a container started with --rm"
    if loss.holds is Holds.ELSEWHERE:
        return Stake.DEFINITION, "only a reference goes: the data lies elsewhere"
    if loss.holds is Holds.EMPTY and loss.in_memory:
        return Stake.DATA, f"it is empty, but {loss.in_memory} may write it when it ends"
    if loss.holds is Holds.EMPTY:
        return Stake.DEFINITION, "it is empty"
    if loss.holds is Holds.DATA:
        return Stake.DATA, "it holds data"
    return Stake.DATA, "what it holds is not known"


def _heavy(loss: Loss, above: int) -> bool:
    if loss.holds is Holds.EMPTY:
        return False
    return loss.database or loss.size is None or loss.size > above


def _weight(loss: Loss) -> str:
    if loss.database:
        return f"it holds {loss.content}"
    return "what it holds is not known" if loss.size is None else f"it holds {Bytes(loss.size)}"
