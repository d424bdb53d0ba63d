"""A container as something that can be kept: its definition and the layer it wrote, out of the
engine and back in. What is kept, and when, is backup/'s.

The engine gives no layer by itself. A commit makes an image of it, whose archive has that layer as
its last; an archive of the same shape, with the layers below it named and left empty, is loaded
back: the engine has those already, and checks the digest of the one it reads.
Source: moby image/tarexport load.go, save.go; seen on 20.10, 26.1 and 28.5.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import posixpath
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any
from urllib.parse import quote

from safedocker.edge import answers
from safedocker.edge.porter import BUSY, CHUNK, SLOW
from safedocker.edge.wire import Wire
from safedocker.errors import NoBackup, SafedockerError
from safedocker.loss.facts import HELPER

_BLOCK = 512


def inspect_container(wire: Wire, id_: str) -> dict[str, Any]:
    """All that the engine says of a container. Raise NoBackup when it is gone."""
    path = f"/containers/{quote(id_, safe='')}/json"
    found = wire.json("GET", path, f"inspect container {id_[:12]}", allowed=(404,))
    if found is None:
        raise NoBackup(f"container {id_[:12]} is gone meanwhile", "type the command again")
    return answers.mapping(found)


@contextlib.contextmanager
def read_layer(wire: Wire, id_: str, stamp: str) -> Iterator[tuple[str, int, Iterator[bytes]]]:
    """Give the digest ("sha256:...") of the tar of what a container wrote, its size, its bytes.

    The bytes are the engine's own for that digest: whoever reads them compares. `stamp` marks the
    image that stands meanwhile, so that it is swept if we are killed.
    """
    made = wire.call(
        "POST",
        "/commit",
        f"take the layer of container {id_[:12]}",
        {"container": id_, "pause": "0", "changes": f"LABEL {HELPER}={stamp}"},
        body={},
        timeout=SLOW,
        kind=NoBackup,
    )
    image = answers.text(answers.mapping(made.json()), "Id")
    try:
        found = wire.json("GET", f"/images/{image}/json", "describe an image")
        layers = answers.sequence(answers.mapping(answers.mapping(found).get("RootFS")), "Layers")
        digest = str(layers[-1])
        with _archive(wire, image) as members:
            wanted = _place(members, digest)
        with _archive(wire, image) as members:
            for name, size, content in members:
                if name == wanted:
                    yield digest, size, content
                    return
        raise NoBackup(f"the engine's archive of container {id_[:12]} lacks its layer")
    finally:
        with contextlib.suppress(SafedockerError):
            wire.find(
                "DELETE",
                f"/images/{image}",
                "remove an image",
                {"force": "1", "noprune": "1"},
                allowed=(404, 409),
            )


_Members = Iterator[tuple[str, int, Iterator[bytes]]]


def _place(members: _Members, digest: str) -> str:
    """The layer's name in the archive. Up to 24.0 the list that tells comes last of all."""
    for name, _size, content in members:
        if name == "blobs":
            return f"blobs/{digest.replace(':', '/')}"
        if name == "manifest.json":
            return str(json.loads(b"".join(content))[0]["Layers"][-1])
    return ""


@contextlib.contextmanager
def _archive(wire: Wire, image: str) -> Iterator[_Members]:
    with wire.reading(
        f"/images/{image}/get",
        "send an image",
        {},
        size=CHUNK,
        timeout=SLOW,
        kind=NoBackup,
    ) as chunks:
        yield _members(chunks)


def _members(chunks: Iterator[bytes]) -> _Members:
    """The members of a tar stream in turn: name, size, and the content while it is the latest."""
    with tarfile.open(fileobj=_Reader(chunks), mode="r|", bufsize=CHUNK) as archive:  # type: ignore[call-overload]  # read() is all it calls
        for member in archive:
            yield (
                member.name,
                member.size,
                _content(archive.extractfile(member) if member.isreg() else None),
            )


def _content(file: IO[bytes] | None) -> Iterator[bytes]:
    while file is not None and (piece := file.read(CHUNK)):
        yield piece


class _Reader:
    """Chunks as the file that tarfile reads from."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._left = b""

    def read(self, size: int) -> bytes:
        parts = [self._left]
        have = len(self._left)
        while have < size and (chunk := next(self._chunks, b"")):
            parts.append(chunk)
            have += len(chunk)
        whole = b"".join(parts)
        self._left = whole[size:]
        return whole[:size]


def load_layer(
    wire: Wire, base: str, digest: str, size: int, layer: Iterable[bytes], config: Mapping[str, Any]
) -> str:
    """Put a layer on top of the image `base` and return the new image's id.

    `size` are the bytes of `layer`, `config` a container's own. Raise SafedockerError when the base
    is not there, or when the layer is not the one of that digest: the engine compares.
    """
    found = wire.json("GET", f"/images/{base}/json", "describe an image", allowed=(404,))
    if found is None:
        raise SafedockerError(
            f"the image that the container was made from is not there: {base[:19]}",
            "pull or build it again first",
        )
    image = answers.mapping(found)
    below = answers.sequence(answers.mapping(image.get("RootFS")), "Layers")
    made = json.dumps(
        {
            "architecture": answers.text(image, "Architecture"),
            "os": answers.text(image, "Os"),
            "created": answers.text(image, "Created") or "1970-01-01T00:00:00Z",
            "config": dict(config),
            "rootfs": {"type": "layers", "diff_ids": [*below, digest]},
        }
    ).encode()
    names = [f"below-{number}.tar" for number in range(len(below))]
    listed = [{"Config": "config.json", "RepoTags": None, "Layers": [*names, "layer.tar"]}]
    small = {"config.json": made, "manifest.json": json.dumps(listed).encode()}
    small |= dict.fromkeys(names, b"")

    def archive() -> Iterator[bytes]:
        for name, content in small.items():
            yield _header(name, len(content)) + content + bytes(-len(content) % _BLOCK)
        yield _header("layer.tar", size)
        yield from layer
        yield bytes(-size % _BLOCK + 2 * _BLOCK)

    wire.send(
        "/images/load",
        "take a container's layer back",
        {"quiet": "1"},
        archive(),
        method="POST",
        timeout=SLOW,
        kind=SafedockerError,
    )
    id_ = f"sha256:{hashlib.sha256(made).hexdigest()}"
    if wire.json("GET", f"/images/{id_}/json", "describe an image", allowed=(404,)) is None:
        raise SafedockerError(
            "the engine did not take the container's layer back",
            "see the engine's log; the backup is whole",
        )
    return id_


def _header(name: str, size: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size = size
    return member.tobuf(tarfile.GNU_FORMAT)


def create_container(
    wire: Wire, name: str, definition: Mapping[str, Any], image: str
) -> tuple[str, tuple[str, ...]]:
    """Make a container as it was, from an image that has its layer; return its id, and sentences
    about what could not be as it was.

    Its anonymous volumes are mounted by their names, so that they are found again.
    Raise SafedockerError when the engine would not.
    """
    config = dict(answers.mapping(definition.get("Config")))
    host = dict(answers.mapping(definition.get("HostConfig")))
    old = answers.text(definition, "Id")
    if config.get("Hostname") == old[:12]:
        del config["Hostname"]
    config["Image"] = image
    config.pop("Volumes", None)
    host["VolumesFrom"] = None
    host["Binds"], host["Mounts"] = _mounts(definition)
    networks = answers.mapping(answers.mapping(definition.get("NetworkSettings")).get("Networks"))
    listed = wire.json("GET", "/networks", "list its networks")
    there = {answers.text(answers.mapping(one), "Name") for one in listed}
    endpoints = {
        net: _endpoint(answers.mapping(one), old) for net, one in networks.items() if net in there
    }
    gone = [net for net in networks if net not in there]
    # A container on the network "none" can be on no other: it has to leave that first.
    leave = "" if endpoints else f"docker network disconnect none {name}; "
    notes = tuple(
        f"the network {net} of {name} is gone; once it is there again: "
        f"{leave}docker network connect {net} {name}"
        for net in gone
    )
    if gone:
        host["NetworkMode"] = next(iter(endpoints), "none")
    first = dict(list(endpoints.items())[:1])
    made = wire.call(
        "POST",
        "/containers/create",
        f"make container {name}",
        {"name": name},
        body={**config, "HostConfig": host, "NetworkingConfig": {"EndpointsConfig": first}},
        timeout=BUSY,
        kind=SafedockerError,
    )
    id_ = answers.text(answers.mapping(made.json()), "Id")
    for net, endpoint in list(endpoints.items())[1:]:
        wire.call(
            "POST",
            f"/networks/{quote(net, safe='')}/connect",
            f"connect {name} to the network {net}",
            body={"Container": id_, "EndpointConfig": endpoint},
            kind=SafedockerError,
        )
    return id_, notes


def _mounts(definition: Mapping[str, Any]) -> tuple[list[str], list[dict[str, Any]]]:
    """Binds and Mounts that give every mount of the container its source by name."""
    host = answers.mapping(definition.get("HostConfig"))
    binds = [str(one) for one in answers.sequence(host, "Binds")]
    mounts = [dict(one) for one in answers.mappings(host, "Mounts")]
    told = {posixpath.normpath(one.split(":")[1]) for one in binds if one.count(":")}
    for asked in mounts:
        told.add(posixpath.normpath(answers.text(asked, "Target")))
    for found in answers.mappings(definition, "Mounts"):
        target = answers.text(found, "Destination")
        kind = answers.text(found, "Type")
        source = answers.text(found, "Name" if kind == "volume" else "Source")
        for asked in mounts:
            nameless = asked.get("Type") == "volume" and not asked.get("Source")
            if nameless and posixpath.normpath(answers.text(asked, "Target")) == target:
                asked["Source"] = source
        if target not in told and kind in {"volume", "bind"}:
            mode = "" if found.get("RW") is not False else ":ro"
            binds.append(f"{source}:{target}{mode}")
    return binds, mounts


def _endpoint(one: Mapping[str, Any], old: str) -> dict[str, Any]:
    """What was asked of a network; the engine adds the container's own id to the aliases."""
    aliases = [str(alias) for alias in answers.sequence(one, "Aliases")]
    return {
        "IPAMConfig": one.get("IPAMConfig"),
        "Links": one.get("Links"),
        "Aliases": [alias for alias in aliases if alias != old[:12]],
    }
