"""Whose a volume or a container is, among the people of one machine: the signs that were found,
weighed. Pure. What is done about another's data is policy's.

Nobody is called an owner on a guess: where signs of one sort disagree, or there are none, it stays
unknown.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from safedocker.loss.facts import (
    COMPOSE_FOLDER,
    OWNER,
    Container,
    Facts,
    Volume,
)
from safedocker.loss.plan import Kind, Loss, Ownership, Plan, Sign
from safedocker.loss.reach import STABLE_DATES

_DIGITS = 10  # a uid has at most so many; a label can hold anything
PULL = 3600.0  # seconds: how long after its line a `docker run` may still make what it names
TICK = 1.0  # second: a volume's date of creation is told in whole ones
FIRST_PERSON, NOBODY = 1000, 65534  # below are accounts of the system's. Source: login.defs(5)


@dataclass(frozen=True)
class Mark:
    """What somebody typed that makes things, as this machine's log tells; not whether it did."""

    uid: int
    at: float  # seconds since the epoch, before it ran
    volumes: frozenset[str] = frozenset()
    containers: frozenset[str] = frozenset()
    project: str = ""


@dataclass(frozen=True)
class Signs:
    """What this machine tells. `me` are the uids of whoever calls: root by sudo is two."""

    me: frozenset[int]
    names: Mapping[int, str] = field(default_factory=dict)  # logins by uid
    folders: Mapping[str, int] = field(default_factory=dict)  # Compose's folders: their owners
    marks: tuple[Mark, ...] = ()  # the oldest first


def folders(facts: Facts) -> frozenset[str]:
    """The folders of the Compose projects on the engine, as their containers tell them."""
    found = (one.labels.get(COMPOSE_FOLDER, "") for one in facts.containers)
    return frozenset(folder for folder in found if folder.startswith("/"))


def attach(plan: Plan, facts: Facts, signs: Signs) -> Plan:
    """The plan with whose each volume and each container is, as far as that is known."""
    weigher = _Weigher(facts, signs)
    return replace(
        plan, losses=tuple(replace(loss, owner=weigher.of(loss)) for loss in plan.losses)
    )


def owner_of(volume: Volume, facts: Facts, signs: Signs) -> Ownership | None:
    """Whose a volume is; None where that is not known."""
    return _Weigher(facts, signs).of_volume(volume)


class _Weigher:
    def __init__(self, facts: Facts, signs: Signs) -> None:
        self._facts = facts
        self._signs = signs
        version = facts.engine.version.partition(".")[0] if facts.engine else ""
        self._dated = version.isdecimal() and int(version) >= STABLE_DATES

    def of(self, loss: Loss) -> Ownership | None:
        if loss.volume is not None:
            return self.of_volume(loss.volume)
        if loss.kind is Kind.LAYER:
            found = next((one for one in self._facts.containers if one.id == loss.id), None)
            return self._of_container(found) if found else None
        return None

    def of_volume(self, volume: Volume) -> Ownership | None:
        users = [
            one
            for one in self._facts.containers
            if any(mount.volume == volume.name for mount in one.mounts)
        ]
        marks = [one for one in self._signs.marks if volume.name in one.volumes]
        made = _seconds(volume.created_at) if self._dated else None
        return (
            self._labelled(volume.labels)
            or self._made(marks, made, dated=self._dated)
            or self._agreed(self._of_container(one) for one in users)
            or self._of_project(volume.project)
        )

    def _of_container(self, container: Container) -> Ownership | None:
        marks = [one for one in self._signs.marks if container.name in one.containers]
        return (
            self._labelled(container.labels)
            or self._made(marks, container.created or None, dated=True)
            or self._of_folder(container.labels.get(COMPOSE_FOLDER, ""))
            or self._of_project(container.project)
        )

    def _labelled(self, labels: Mapping[str, str]) -> Ownership | None:
        told = labels.get(OWNER, "")
        uids = [uid for uid, name in self._signs.names.items() if told and name == told]
        if told.isascii() and told.isdecimal() and len(told) <= _DIGITS:
            uids = [int(told)]
        return self._owner(uids[0], Sign.LABEL, f"{OWNER}={told}") if uids else None

    def _made(self, marks: list[Mark], made: float | None, *, dated: bool) -> Ownership | None:
        """By the last line before it was made. Where the engine does not tell when that was, by
        the only one who ever named it."""
        if not dated:
            return self._alone(marks, "")
        before = [one for one in marks if made and made - PULL <= one.at <= made + TICK]
        return self._owner(before[-1].uid, Sign.MADE, "", before[-1].at) if before else None

    def _alone(self, marks: list[Mark], project: str) -> Ownership | None:
        if len({one.uid for one in marks}) != 1:
            return None
        return self._owner(marks[0].uid, Sign.ALONE, project, marks[0].at)

    def _of_folder(self, folder: str) -> Ownership | None:
        uid = self._signs.folders.get(folder)
        if uid is None or not FIRST_PERSON <= uid < NOBODY:
            return None  # /srv and /opt are root's, whoever works there
        return self._owner(uid, Sign.FOLDER, folder)

    def _of_project(self, project: str | None) -> Ownership | None:
        if not project:
            return None
        kin = [one for one in self._facts.containers if one.project == project]
        places = {one.labels.get(COMPOSE_FOLDER, "") for one in kin}
        found = self._agreed(self._of_folder(place) for place in sorted(places))
        if found or len(places) > 1:
            return found
        marks = [one for one in self._signs.marks if one.project == project]
        return self._alone(marks, project)

    def _agreed(self, found: Iterable[Ownership | None]) -> Ownership | None:
        """Whose all of them are; None where they are of several, or one is nobody's."""
        each = list(found)
        first = each[0] if each else None
        if first is None or any(one is None or one.uid != first.uid for one in each):
            return None
        return first

    def _owner(self, uid: int, sign: Sign, told: str, at: float | None = None) -> Ownership:
        name = self._signs.names.get(uid, f"uid {uid}")
        return Ownership(uid, name, sign, told, at, uid in self._signs.me)


def _seconds(moment: str) -> float | None:
    try:
        return datetime.datetime.fromisoformat(moment).timestamp()
    except ValueError:
        return None
