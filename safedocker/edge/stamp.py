"""Stamps that tell one process from every other: "host/pid/start/random"."""

from __future__ import annotations

import os
import re
import secrets
import socket
import uuid

from safedocker.edge import process


def make() -> str:
    """Name this process, whatever it will exec; its start tells it from a later one of its pid."""
    return f"{_host()}/{os.getpid()}/{process.started(os.getpid())}/{secrets.token_hex(6)}"


def lives(stamp: str) -> bool | None:
    """Is that process still there? None: it is of another machine, or no stamp."""
    match stamp.split("/"):
        case [host, pid, started, _] if host == _host() and pid.isdecimal():
            return process.started(int(pid)) == started
    return None


def _host() -> str:
    """Name the machine and the process namespace: several may use one engine."""
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        space = ""
    return re.sub(r"[^A-Za-z0-9.-]+", "-", f"{socket.gethostname()}-{uuid.getnode():x}-{space}")
