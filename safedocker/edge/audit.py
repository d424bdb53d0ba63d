"""The audit: one JSON line for each matched form, appended before anything is removed."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from safedocker.errors import Refused

AUDIT_VERSION = 1


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
