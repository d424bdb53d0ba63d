"""The audit: one JSON line for each matched form, appended before anything is removed."""

from __future__ import annotations

import datetime
import json
import pathlib
import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from safedocker.edge import answers, ledger, lines
from safedocker.errors import Refused
from safedocker.loss.history import Entry, Lost
from safedocker.loss.orphans import Origin, Trace

AUDIT_VERSION = 1
_FAR = 1e11  # seconds since the epoch: what is past it is no date that can be told
_READ = 16 << 20  # bytes of its end that are read for traces
_WHY = re.compile(r"anonymous volume of (\S+) at (.+)")  # how it was told before it had keys


def text_of(line: Mapping[str, Any]) -> str:
    """A line as it is written."""
    return json.dumps({"audit": AUDIT_VERSION, **line}, ensure_ascii=True, separators=(",", ":"))


def write(file: pathlib.Path, line: Mapping[str, Any]) -> None:
    """Append one line, in one write, readable by its owner alone. Raise Refused if that fails:
    what is not written down does not happen."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lines.append(str(file), text_of(line))
    except OSError as fault:
        raise Refused(
            f"the audit line could not be written ({file}: {fault.strerror}): nothing was removed",
            "make room, or make the folder writable, and type the command again",
        ) from fault


def entries(file: pathlib.Path) -> Iterator[Entry]:
    """Every decision in the person's own audit, the oldest first."""
    return filter(None, map(entry, lines.read(str(file))))


def of_machine() -> Iterator[Entry]:
    """Every decision in the machine's log, those of one user the oldest first."""
    return filter(None, map(entry, ledger.read()))


def entry(line: Mapping[str, Any]) -> Entry | None:
    """Read a line; None for what is no decision."""
    at = answers.seconds(answers.text(line, "at"))
    if not 0 < at < _FAR or "outcome" not in line:
        return None
    words = list(map(str, answers.sequence(line, "argv")))
    person, pid = line.get("person", line.get("user")), line.get("pid")
    return Entry(
        at=at,
        person=person if isinstance(person, int) else -1,
        command=shlex.join(_typed(words)) if words else answers.text(line, "command"),
        directory=answers.text(line, "directory"),
        caller=answers.text(line, "caller"),
        mark=answers.text(line, "caller_mark"),
        parent=answers.text(line, "parent"),
        form=answers.text(line, "form"),
        outcome=answers.text(line, "outcome"),
        rule=answers.text(line, "rule"),
        answered=answers.text(line, "answered"),
        backup=answers.text(line, "backup"),
        backups=tuple(map(str, answers.sequence(line, "backups"))),
        engine=answers.text(line, "engine"),
        engine_id=answers.text(line, "engine_id"),
        engine_name=answers.text(line, "engine_name"),
        project=answers.text(line, "project"),
        losses=tuple(map(_lost, answers.mappings(line, "losses"))),
        gaps=tuple(map(str, answers.sequence(line, "gaps"))),
        pid=pid if isinstance(pid, int) else 0,
    )


def _typed(words: list[str]) -> list[str]:
    """Our own commands are known by their path."""
    name = words[0].rpartition("/")[2]
    return ["safedocker", *words[1:]] if name in {"safedocker", "__main__.py", "-c"} else words


def _lost(told: Mapping[str, Any]) -> Lost:
    size = told.get("size")
    return Lost(
        kind=answers.text(told, "kind"),
        name=answers.text(told, "name"),
        size=size if isinstance(size, int) else None,
        used_by=tuple(map(str, answers.sequence(told, "used_by"))),
        project=answers.text(told, "project"),
    )


def traces(file: pathlib.Path, engine_id: str) -> dict[str, Origin]:
    """Which container had a volume of this engine when a command took it or left it behind, by the
    volume's name; the last line counts. What can't be read is passed over."""
    found: dict[str, Origin] = {}
    for told in lines.read(str(file), last=_READ):
        if not engine_id or answers.text(told, "engine_id") != engine_id:
            continue
        for loss in answers.mappings(told, "losses"):
            if answers.text(loss, "kind").endswith(" volume"):
                origin = _origin(told, loss)
                if origin.container or origin.project:
                    found[answers.text(loss, "name")] = origin
    return found


def _origin(line: Mapping[str, Any], loss: Mapping[str, Any]) -> Origin:
    why = _WHY.fullmatch(answers.text(loss, "why"))
    users = [str(one) for one in answers.sequence(loss, "used_by")]
    try:
        at = datetime.datetime.fromisoformat(answers.text(line, "at")).timestamp()
    except ValueError:
        at = None
    return Origin(
        trace=Trace.AUDIT,
        container=why[1] if why else users[0] if users else "",
        image=answers.text(loss, "image"),
        target=answers.text(loss, "target") or (why[2] if why else ""),
        project=answers.text(line, "project") or None,
        at=at,
    )
