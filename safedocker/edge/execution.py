"""Runs a program inside a running container, with its streams: stdin, stdout, what it said on
stderr, its exit code. What is run is backup/'s to say."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from safedocker.edge import answers
from safedocker.edge.wire import Wire
from safedocker.errors import NoBackup, NoEngine

_PIECE = 1 << 18  # bytes read at a time
_HEADER = 8  # bytes before each frame: the stream's number, three zeros, the length
_STDERR = 2
_SAID = 4000  # bytes of stderr that are kept, the last ones
_ENDING = 10.0  # seconds within which the engine knows the exit code of what has ended
_AGAIN = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Execution:
    """A program that runs. Iterate over it for its stdout; then it has ended."""

    def __init__(self, wire: Wire, id_: str, frames: Iterator[tuple[int, bytes]]) -> None:
        self._wire = wire
        self._id = id_
        self._frames = frames
        self._said = b""
        self.exit_code = -1  # until it has ended

    @property
    def said(self) -> str:
        """The end of what it wrote on stderr."""
        return self._said.decode("utf-8", "replace")

    def __iter__(self) -> Iterator[bytes]:
        for stream, content in self._frames:
            if stream == _STDERR:
                self._said = (self._said + content)[-_SAID:]
            else:
                yield content
        self.exit_code = self._ended()

    def _ended(self) -> int:
        deadline = time.monotonic() + _ENDING
        while True:
            found = answers.mapping(
                self._wire.json("GET", f"/exec/{self._id}/json", "say how a program ended")
            )
            code = found.get("ExitCode")
            if found.get("Running") is False and isinstance(code, int):
                return code
            if time.monotonic() > deadline:
                raise NoEngine("the engine does not say how a program in a container ended")
            time.sleep(0.02)


@contextlib.contextmanager
def execute(
    wire: Wire,
    container: str,
    argv: Sequence[str],
    env: Mapping[str, str],
    stdin: Iterable[bytes] | None,
    silence: float,
) -> Iterator[Execution]:
    """Run a program in a running container. `env` adds to the container's own, and stands on no
    command line; `silence` is the seconds after which a program that neither reads nor writes is
    given up.

    `stdin` is sent as the program takes it and is not closed at its end, as TLS has no half-closed
    connection: the program must know where it ends. Raise NoBackup when the container does not run,
    or the engine would not; NoEngine when the stream is cut. What `stdin` raises passes through.
    Source: moby api/server/router/container/exec.go, pkg/stdcopy.
    """
    what = f"run {argv[0]} in container {container[:12]}"
    body: dict[str, Any] = {
        "AttachStdin": stdin is not None,
        "AttachStdout": True,
        "AttachStderr": True,
        "Cmd": list(argv),
        "Env": [f"{key}={value}" for key, value in env.items()],
    }
    made = wire.call("POST", f"/containers/{container}/exec", what, body=body, kind=NoBackup)
    id_ = answers.text(answers.mapping(made.json()), "Id")
    start = {"Detach": False, "Tty": False}
    with wire.upgraded(f"/exec/{id_}/start", what, start, kind=NoBackup) as (bare, first):
        pieces = _exchanged(wire, bare, first, filter(None, stdin or ()), silence)
        yield Execution(wire, id_, frames(pieces))


def _exchanged(
    wire: Wire, bare: socket.socket, first: bytes, stdin: Iterator[bytes], silence: float
) -> Iterator[bytes]:
    """Send what there is and give what comes, in one thread: a TLS connection bears no two."""
    if first:
        yield first
    sending = memoryview(next(stdin, b""))
    while True:
        waits = [bare] if sending else []
        pending = isinstance(bare, ssl.SSLSocket) and bare.pending()
        readable, writable, _ = select.select([bare], waits, [], 0 if pending else silence)
        if not (readable or writable or pending):
            raise wire.silent(silence)
        try:
            if writable:
                with contextlib.suppress(*_AGAIN):
                    sending = sending[bare.send(sending) :]
                if not sending:
                    sending = memoryview(next(stdin, b""))
            if not (readable or pending):
                continue
            piece = bare.recv(_PIECE)
        except _AGAIN:
            continue
        except OSError as error:
            raise wire.cut(error) from error
        if not piece:
            return
        yield piece


def frames(pieces: Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
    """The parts of a multiplexed stream: number of the stream, content."""
    held = b""
    stream = left = 0
    for piece in pieces:
        held += piece
        while held:
            if not left:
                if len(held) < _HEADER:
                    break
                stream, left = held[0], int.from_bytes(held[4:_HEADER])
                held = held[_HEADER:]
                continue
            content, held = held[:left], held[left:]
            left -= len(content)
            yield stream, content
    if left or held:
        raise NoEngine("the engine stopped sending in the middle of what a program wrote")
