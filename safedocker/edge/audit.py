"""The audit: one JSON line for each matched form, appended before anything is removed."""

from __future__ import annotations

import datetime
import json
import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any

from safedocker.edge import answers
from safedocker.errors import Refused
from safedocker.loss.orphans import Origin, Trace

AUDIT_VERSION = 1
_READ = 16 << 20  # bytes of its end that are read for traces
_WHY = re.compile(r"anonymous volume of (\S+) at (.+)")  # how it was told before it had keys


def write(file: pathlib.Path, line: Mapping[str, Any]) -> None:
    """Append one line, in one write, readable by its owner alone. Raise Refused if that fails:
    what is not written down does not happen."""
    text = json.dumps({"audit": AUDIT_VERSION, **line}, ensure_ascii=True, separators=(",", ":"))
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, text.encode("ascii") + b"\n")
        finally:
            os.close(descriptor)
    except OSError as fault:
        raise Refused(
            f"the audit line could not be written ({file}: {fault.strerror}): nothing was removed",
            "make room, or make the folder writable, and type the command again",
        ) from fault


def traces(file: pathlib.Path, engine_id: str) -> dict[str, Origin]:
    """Which container had a volume of this engine when a command took it or left it behind, by the
    volume's name; the last line counts. What can't be read is passed over."""
    found: dict[str, Origin] = {}
    try:
        with file.open("rb") as opened:
            opened.seek(max(0, opened.seek(0, os.SEEK_END) - _READ))
            lines = opened.read().splitlines()
    except OSError:
        return found
    for line in lines:
        try:
            told = answers.mapping(json.loads(line))
        except ValueError:
            continue
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
