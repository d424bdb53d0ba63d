"""A program that stands before an engine's socket: it lets something happen just before the engine
is asked for its volumes, or lets the engine have lost count of who uses them; or what goes through
an archive is late, is cut, lacks a file, or never arrives, and nobody says so.

    proxy.py LISTEN ENGINE [--before SCRIPT] [--lost-count] [--cut BYTES] [--lose NAME] [--swallow]
                           [--late SECONDS]

LISTEN is a socket's path, or "tcp" for a port of this machine: an engine there is as good as one on
another, whose volumes can't be had but through it. It says "ready" and its address.
"""

from __future__ import annotations

import argparse
import contextlib
import http
import http.client
import io
import re
import socket
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

READS = re.compile(rb"GET (/v[\d.]+)?/containers/[^/]+/archive\?")
WRITES = re.compile(rb"PUT (/v[\d.]+)?/containers/[^/]+/archive\?")
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
        if options.swallow and WRITES.match(head):
            head = head.partition(b"\r\n\r\n")[2]
            while not head.endswith(b"0\r\n\r\n"):
                head += client.recv(1 << 16)
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        if READS.match(head):
            time.sleep(options.late)
        engine.connect(options.engine)
        engine.sendall(head)
        if READS.match(head) and (options.lose or options.cut):
            client.sendall(spoiled(engine, options))
            return
        back = threading.Thread(target=carry, args=(engine, client), daemon=True)
        back.start()
        forth = threading.Thread(target=carry, args=(client, engine), daemon=True)
        forth.start()
        back.join()


def spoiled(engine: socket.socket, options: argparse.Namespace) -> bytes:
    """The engine's answer with less in it, and ended in order."""
    answer = http.client.HTTPResponse(engine)
    answer.begin()
    body = answer.read()
    if options.lose and answer.status == http.HTTPStatus.OK:
        kept = io.BytesIO()
        with (
            tarfile.open(fileobj=io.BytesIO(body)) as whole,
            tarfile.open(fileobj=kept, mode="w") as less,
        ):
            for member in whole:
                if not member.name.endswith(f"/{options.lose}"):
                    less.addfile(member, whole.extractfile(member) if member.isreg() else None)
        body = kept.getvalue()
    body = body[: options.cut or None]
    lines = [f"HTTP/1.1 {answer.status} {answer.reason}", f"Content-Length: {len(body)}"]
    stat = answer.getheader("X-Docker-Container-Path-Stat", "")
    lines += [f"X-Docker-Container-Path-Stat: {stat}", "Connection: close", "", ""]
    return "\r\n".join(lines).encode() + body


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("listen")
    parser.add_argument("engine")
    parser.add_argument("--before", default="")
    parser.add_argument("--lost-count", action="store_true")
    parser.add_argument("--cut", type=int, default=0)
    parser.add_argument("--lose", default="")
    parser.add_argument("--late", type=float, default=0)
    parser.add_argument("--swallow", action="store_true")
    options = parser.parse_args()
    over_tcp = options.listen == "tcp"
    with socket.socket(socket.AF_INET if over_tcp else socket.AF_UNIX) as listening:
        if not over_tcp:
            Path(options.listen).unlink(missing_ok=True)
        listening.bind(("127.0.0.1", 0) if over_tcp else options.listen)
        listening.listen(64)
        address = f"unix://{options.listen}"
        if over_tcp:
            address = "tcp://" + ":".join(map(str, listening.getsockname()))
        sys.stdout.write(f"ready {address}\n")
        sys.stdout.flush()
        while True:
            client, _ = listening.accept()
            threading.Thread(target=serve, args=(client, options), daemon=True).start()


if __name__ == "__main__":
    main()
