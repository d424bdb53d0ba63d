"""A container that is kept: its definition and the layer it wrote, in one file of the store. Its
volumes are parts of their own; how it is made again is remake.py's.

The file unpacks to one line of JSON, then the layer's tar. The layer's digest is the engine's own:
it is compared when it is read, when it is read back, and by the engine when it is put back.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import zstandard

from safedocker.backup.contents import Meter, Sealed, metered
from safedocker.backup.inventory import BadArchive
from safedocker.backup.manifest import Consistency, CrossCheck, Part, Stored
from safedocker.backup.store import Draft
from safedocker.backup.ways import Engine
from safedocker.backup.zst import pack, unpack
from safedocker.errors import NoBackup
from safedocker.loss.facts import Container
from safedocker.loss.plan import Loss

WAY = "layer"
NOT_KEPT = ("its id and its logs", "that its image had another name: it is the layer's own now")


@dataclass(frozen=True)
class Head:
    """The first line of a container's file."""

    definition: Mapping[str, Any]  # as the engine tells it
    digest: str  # of the layer: "sha256:..."
    size: int  # bytes of the layer's tar
    ran: bool  # before it was stopped for the copy


def take(
    loss: Loss,
    engine: Engine,
    draft: Draft,
    stem: str,
    meter: Meter,
    consistency: tuple[Consistency, str],
    *,
    ran: bool,
) -> Part:
    """Put a container into the draft, read it back, and return its part.

    Raise NoBackup when it is gone, or its layer is not what the engine said it was.
    """
    definition = engine.definition(loss.id)
    name = f"{stem}.tar.zst"
    packed = hashlib.sha256()
    with engine.read_layer(loss.id) as (digest, size, chunks):
        head = {"container": 1, "definition": definition, "digest": digest, "size": size}
        line = json.dumps({**head, "ran": ran}).encode("ascii") + b"\n"
        layer = _compared(metered(chunks, meter), digest, size)
        stored = draft.put(name, pack(_before(line, layer), packed.update))
    file = Stored(name, stored, packed.hexdigest())
    check(file, draft.open(name))
    return Part(
        kind=loss.kind,
        name=loss.name,
        driver="",
        options={},
        labels={},
        used_by=(),
        content=loss.content,
        way=WAY,
        file=file,
        inventory=None,
        consistency=consistency[0],
        reached=consistency[1],
        cross_check=CrossCheck.EQUAL,
        not_kept=NOT_KEPT,
    )


def _before(line: bytes, pieces: Iterable[bytes]) -> Iterator[bytes]:
    yield line
    yield from pieces


def _compared(pieces: Iterable[bytes], digest: str, size: int) -> Iterator[bytes]:
    """The pieces of a layer; raise BadArchive at the end when they are not that layer."""
    seen = hashlib.sha256()
    had = 0
    for piece in pieces:
        seen.update(piece)
        had += len(piece)
        yield piece
    if (f"sha256:{seen.hexdigest()}", had) != (digest, size):
        raise BadArchive("the layer is not the one that its digest names")


def opened(pieces: Iterable[bytes]) -> tuple[Head, Iterator[bytes]]:
    """The first line of a container's file, and the layer after it, which is compared as it is
    read. Raise BadArchive."""
    unpacked = unpack(pieces)
    start = b""
    while b"\n" not in start:
        piece = next(unpacked, b"")
        if not piece:
            raise BadArchive("the container's definition is cut short")
        start += piece
    line, _, rest = start.partition(b"\n")
    try:
        told = json.loads(line)
        head = Head(told["definition"], told["digest"], told["size"], told["ran"])
    except (ValueError, KeyError, TypeError) as fault:
        raise BadArchive(f"the container's definition can't be read: {fault}") from fault
    return head, _compared(_before(rest, unpacked), head.digest, head.size)


def head_in(pieces: Iterable[bytes]) -> Head:
    """What is told of the container. Raise BadArchive when that can't be read."""
    try:
        return opened(pieces)[0]
    except zstandard.ZstdError as fault:
        raise BadArchive(f"the container's file can't be unpacked: {fault}") from fault


def check(file: Stored, pieces: Iterable[bytes]) -> None:
    """Read a part's file and compare. Raise BadArchive when it is not what was written."""
    sealed = Sealed(pieces)
    try:
        _head, layer = opened(sealed)
        for _piece in layer:
            pass
    except zstandard.ZstdError as fault:
        raise BadArchive(f"{file.name} can't be unpacked: {fault}") from fault
    sealed.compare(file)


def check_there(losses: Iterable[Loss], containers: Iterable[Container]) -> None:
    """Raise NoBackup when one of the containers is gone meanwhile."""
    there = {one.id for one in containers}
    for loss in losses:
        if loss.id not in there:
            raise NoBackup(
                f"the container {loss.name} is gone meanwhile: nothing was removed by safedocker",
                "type the command again to see what it takes now",
            )
