"""Runs a program in a running container of one engine, and gives what it wrote."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from safedocker.edge import answers
from safedocker.edge.wire import Wire
from safedocker.errors import NoBackup

_HEAD = struct.Struct(">BxxxL")  # which stream, and how many bytes of it follow
_ERRORS = 2


@dataclass(frozen=True)
class Ended:
    """How a program in a container ended, and all that it wrote."""

    code: int
    output: bytes
    errors: bytes


def run_inside(wire: Wire, container: str, argv: Sequence[str], timeout: float) -> Ended:
    """Run a program to its end; `timeout` is the seconds it may be silent. For short answers: all
    is held in memory. Raise NoBackup when the engine would not run it."""
    made = wire.call(
        "POST",
        f"/containers/{container}/exec",
        "run a program in a container",
        body={"Cmd": list(argv), "AttachStdout": True, "AttachStderr": True},
        kind=NoBackup,
    )
    id_ = answers.text(answers.mapping(made.json()), "Id")
    answer = wire.call(
        "POST",
        f"/exec/{id_}/start",
        "run a program in a container",
        body={"Detach": False, "Tty": False},
        timeout=timeout,
        kind=NoBackup,
    )
    streams = {1: bytearray(), _ERRORS: bytearray()}
    told = memoryview(answer.content)
    while len(told) >= _HEAD.size:
        stream, size = _HEAD.unpack_from(told)
        streams.setdefault(stream, bytearray()).extend(told[_HEAD.size : _HEAD.size + size])
        told = told[_HEAD.size + size :]
    state = answers.mapping(wire.json("GET", f"/exec/{id_}/json", "say how it ended"))
    code = state.get("ExitCode")
    if state.get("Running") is not False or not isinstance(code, int):
        raise NoBackup("the engine does not say how a program in a container ended")
    return Ended(code, bytes(streams[1]), bytes(streams[_ERRORS]))
