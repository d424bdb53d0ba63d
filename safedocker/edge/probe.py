"""One question to an engine of this machine over its socket, for commands of every day: what is
usual is found out without the libraries that cost more than the command. All else is engine.py's.
"""

from __future__ import annotations

import json
import re
import socket

from safedocker.edge import process

PATIENCE = 2.0  # seconds
PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def mounts_what_is_here(path: str, container: str) -> bool:
    """Is it certain that every folder of the host that a container mounts is here? Also where there
    is no such container. `path` is the socket's."""
    if not PLAIN.fullmatch(container):
        return False
    try:
        with socket.socket(socket.AF_UNIX) as engine:
            engine.settimeout(PATIENCE)
            engine.connect(path)
            # 1.0: the answer comes in one piece, and ends with the connection.
            engine.sendall(f"GET /containers/{container}/json HTTP/1.0\r\n\r\n".encode())
            answer = b"".join(iter(lambda: engine.recv(1 << 16), b""))
        head, _, body = answer.partition(b"\r\n\r\n")
        status = head.split()[1]
        if status == b"404":
            return True
        mounts = json.loads(body)["Mounts"]  # an error has none
        sources = [one["Source"] for one in mounts if one["Type"] == "bind"]
    except (OSError, ValueError, LookupError, TypeError):
        return False
    return all(map(process.stands, sources))
