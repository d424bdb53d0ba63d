"""A program that stands before an engine's socket: it lets something happen just before the engine
is asked for its volumes, or lets the engine have lost count of who uses them.

    proxy.py LISTEN ENGINE [--before SCRIPT] [--lost-count]
"""

from __future__ import annotations

import argparse
import contextlib
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

VOLUMES = re.compile(rb"GET (/v[\d.]+)?/volumes(\?\S*)? HTTP/1.1\r\n")
_ONE_AT_A_TIME = threading.Lock()


def carry(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(1 << 16):
            target.sendall(piece)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def serve(client: socket.socket, options: argparse.Namespace) -> None:
    """Carry one connection. One request each: what comes after it would not be read here."""
    head = b""
    while b"\r\n\r\n" not in head:
        piece = client.recv(1 << 16)
        if not piece:
            return
        head += piece
    asked = VOLUMES.match(head)
    if asked and options.before and not (asked[2] and b"dangling" in asked[2]):
        with _ONE_AT_A_TIME:
            subprocess.run(["sh", "-c", options.before], stdin=subprocess.DEVNULL, check=False)
    if asked and options.lost_count:
        head = head.replace(asked[2] or b"?", b"", 1)  # every volume is one that nobody uses
    if b"\r\nupgrade:" not in head.lower():
        head = re.sub(rb"(?i)\r\nconnection:[^\r]*", b"", head, count=1)
        head = head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
    with socket.socket(socket.AF_UNIX) as engine, client:
        engine.connect(options.engine)
        engine.sendall(head)
        back = threading.Thread(target=carry, args=(engine, client), daemon=True)
        back.start()
        forth = threading.Thread(target=carry, args=(client, engine), daemon=True)
        forth.start()
        back.join()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("listen")
    parser.add_argument("engine")
    parser.add_argument("--before", default="")
    parser.add_argument("--lost-count", action="store_true")
    options = parser.parse_args()
    Path(options.listen).unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(options.listen)
        listening.listen(64)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            client, _ = listening.accept()
            threading.Thread(target=serve, args=(client, options), daemon=True).start()


if __name__ == "__main__":
    main()
