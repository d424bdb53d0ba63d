"""One question to an engine of this machine over its socket, for commands of every day: what is
usual is found out without the libraries that cost more than the command. All else is engine.py's.
"""

from __future__ import annotations

import json
import re
import socket
from typing import Any

from safedocker.edge import process

PATIENCE = 2.0  # seconds
NOT_FOUND = 404
PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def mounts_what_is_here(path: str, container: str) -> bool:
    """Is it certain that every folder of the host that a container mounts is here? Also where there
    is no such container. `path` is the socket's."""
    if not PLAIN.fullmatch(container):
        return False
    status, body = ask(path, f"/containers/{container}/json")
    if status == NOT_FOUND:
        return True
    try:
        sources = [one["Source"] for one in body["Mounts"] if one["Type"] == "bind"]
    except (LookupError, TypeError):  # an error has no mounts
        return False
    return all(map(process.stands, sources))


def ask(path: str, question: str) -> tuple[int, Any]:
    """GET something of the engine whose socket is at `path`: the status, and the answer's JSON. 0
    and None where no answer comes that can be read."""
    try:
        with socket.socket(socket.AF_UNIX) as engine:
            engine.settimeout(PATIENCE)
            engine.connect(path)
            # 1.0: the answer comes in one piece, and ends with the connection.
            engine.sendall(f"GET {question} HTTP/1.0\r\n\r\n".encode())
            answer = b"".join(iter(lambda: engine.recv(1 << 16), b""))
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), json.loads(body)
    except (OSError, ValueError, LookupError):
        return 0, None
