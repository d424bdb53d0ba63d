"""The people of this machine, as far as it tells: whose Compose's folders are, what whom made, and
their logins. What follows from that is loss/owners.py's."""

from __future__ import annotations

import os
import pwd
import threading
from collections.abc import Iterable, Mapping
from typing import Any

from safedocker.edge import answers, ledger
from safedocker.loss.facts import OWNER, EngineIdentity, Facts
from safedocker.loss.history import DID_NOT_RUN
from safedocker.loss.owners import Mark, Signs

_SECONDS = 1.0  # that the owners of folders are waited for
_READ = 4 << 20  # bytes of each user's lines that are read, the last ones
_MAKES = frozenset({"compose-up", "compose-create", "compose-run"})
_FAR = 1e11  # seconds: what is past it is no date
_DIGITS = 10  # of the largest uid; Python itself reads no number of thousands of them


def signs(facts: Facts, folders: Iterable[str]) -> Signs:
    """What this machine tells of the people that an engine on it serves. `folders` are those of
    Compose's projects. Nothing is raised: what can't be read tells nothing."""
    me = frozenset({os.getuid(), ledger.person()})
    owners = _owners(folders)
    engine = facts.engine
    marks = _marks(engine) if engine is not None else ()
    names = {uid: name(uid) for uid in {*me, *owners.values(), *(one.uid for one in marks)}}
    labels = [one.labels for one in facts.volumes.values()]
    labels += [one.labels for one in facts.containers]
    for told in {each[OWNER] for each in labels if OWNER in each}:
        number = told.isascii() and told.isdecimal() and len(told) <= _DIGITS
        uid = int(told) if number else _uid(told)
        if uid is not None:
            names[uid] = name(uid)
    return Signs(me, names, owners, marks)


def name(uid: int) -> str:
    """The login of a uid; "uid 1001" where there is none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return f"uid {uid}"


def _uid(login: str) -> int | None:
    try:
        return pwd.getpwnam(login).pw_uid
    except (KeyError, ValueError):  # ValueError: a null byte
        return None


def _owners(folders: Iterable[str]) -> dict[str, int]:
    """Whose the folders are, as far as that is told in time: one may be on a disk that is far
    away, and gone."""
    found: dict[str, int] = {}

    def ask() -> None:
        for folder in folders:
            if (uid := owner_of(folder)) is not None:
                found[folder] = uid

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(_SECONDS)
    return dict(found)


def owner_of(folder: str) -> int | None:
    """Whose a folder is. Where we may not look so far, whose that is which keeps us out: nobody
    else works below it. None where it is not there."""
    while True:
        try:
            return os.stat(folder).st_uid
        except PermissionError:
            above = os.path.dirname(folder)
            if above == folder:
                return None
            folder = above
        except (OSError, ValueError):
            return None


def _marks(engine: EngineIdentity) -> tuple[Mark, ...]:
    """What people made on an engine, by the machine's log, the oldest first."""
    found = []
    for line in ledger.read(_READ):
        if answers.text(line, "engine") == engine.host or (
            engine.id and answers.text(line, "engine_id") == engine.id
        ):
            mark = _mark(line)
            if mark is not None:
                found.append(mark)
    return tuple(sorted(found, key=lambda one: one.at))


def _mark(line: Mapping[str, Any]) -> Mark | None:
    at, person = line.get("at"), line["person"]
    if line.get("mark") == 1:
        if not (isinstance(at, int | float) and 0 < at < _FAR):
            return None
        volumes, containers = (
            frozenset(map(str, answers.sequence(line, key))) for key in ("volumes", "containers")
        )
        return Mark(person, float(at), volumes, containers)
    project = answers.text(line, "project")
    ran = answers.text(line, "outcome") not in DID_NOT_RUN
    moment = answers.seconds(answers.text(line, "at"))
    if answers.text(line, "form") in _MAKES and project and ran and 0 < moment < _FAR:
        return Mark(person, moment, project=project)
    return None
