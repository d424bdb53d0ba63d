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


class ImageLabels:
    """What the labels of images are: each image is asked once, as none ever changes."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._known: dict[str, Mapping[str, str] | None] = {}

    def inherited(self, inspected: Mapping[str, Any]) -> frozenset[str] | None:
        """The names of the labels that a container has as its image has them; None where the engine
        can't say. The engine puts an image's labels on the container and does not tell them apart.
        """
        labels = answers.texts(answers.mapping(inspected.get("Config")), "Labels")
        if not labels:
            return frozenset()
        image = answers.text(inspected, "Image")
        if image not in self._known:
            self._known[image] = self._ask(image)
        own = self._known[image]
        if own is None:
            return None
        return frozenset(name for name, value in labels.items() if own.get(name) == value)

    def _ask(self, image: str) -> Mapping[str, str] | None:
        if not image:
            return None
        path = f"/images/{quote(image, safe=':')}/json"
        found = self._wire.json("GET", path, "describe an image", allowed=(400, 403, 404, 500))
        if found is None:
            return None
        return answers.texts(answers.mapping(answers.mapping(found).get("Config")), "Labels")


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


class Maker:
    """Makes containers again on one engine."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def make(
        self,
        name: str,
        definition: Mapping[str, Any],
        digest: str,
        size: int,
        layer: Iterable[bytes],
    ) -> str:
        """Make a container as it was, with the layer it had; return its id. It is not started, and
        in one of its networks at the most: `join` does the rest.

        Raise SafedockerError when its image is gone, its name is taken, or the layer is another.
        """
        base = answers.text(definition, "Image")
        config = answers.mapping(definition.get("Config"))
        image = load_layer(self._wire, base, digest, size, layer, config)
        return _create(self._wire, name, definition, image)

    def join(self, id_: str, name: str, definition: Mapping[str, Any]) -> tuple[str, ...]:
        """Connect a container that was made to those of its networks that it is not in; return
        sentences about those that are gone. Raise SafedockerError when one would not have it."""
        endpoints, gone = _networks(self._wire, definition)
        found = self._wire.json("GET", f"/containers/{id_}/json", f"look at container {name}")
        held = answers.mapping(answers.mapping(found).get("NetworkSettings"))
        present = {*answers.mapping(held.get("Networks"))}
        if endpoints and "none" in present and "none" not in endpoints:
            self._ask(
                f"disconnect {name} from no network", "none", "disconnect", {"Container": id_}
            )
        for net, endpoint in endpoints.items():
            if net not in present:
                body = {"Container": id_, "EndpointConfig": endpoint}
                self._ask(f"connect {name} to the network {net}", net, "connect", body)
        # A container on the network "none" can be on no other: it has to leave that first.
        leave = "" if endpoints else f"docker network disconnect none {name}; "
        return tuple(
            f"the network {net} of {name} is gone; once it is there again: "
            f"{leave}docker network connect {net} {name}"
            for net in gone
        )

    def _ask(self, what: str, net: str, verb: str, body: Mapping[str, Any]) -> None:
        path = f"/networks/{quote(net, safe='')}/{verb}"
        self._wire.call("POST", path, what, body=dict(body), kind=SafedockerError)

    def top_layer(self, image: str) -> str:
        """The digest of an image's last layer; "" where it has none, or is gone."""
        path = f"/images/{quote(image, safe=':')}/json"
        found = self._wire.json("GET", path, "describe an image", allowed=(404,))
        below = answers.mapping(answers.mapping(found).get("RootFS"))
        return next(map(str, reversed(answers.sequence(below, "Layers"))), "")


def _create(wire: Wire, name: str, definition: Mapping[str, Any], image: str) -> str:
    """Make a container as it was, from an image that has its layer.

    Its anonymous volumes are mounted by their names, so that they are found again.
    """
    config = dict(answers.mapping(definition.get("Config")))
    host = dict(answers.mapping(definition.get("HostConfig")))
    if config.get("Hostname") == answers.text(definition, "Id")[:12]:
        del config["Hostname"]
    if answers.text(host, "NetworkMode").startswith("container:"):
        # It tells those of the other container, and the ports of its image, but takes none.
        # Source: moby runconfig/hostconfig_unix.go, validateNetMode.
        for key in ("Hostname", "Domainname", "MacAddress", "ExposedPorts"):
            config.pop(key, None)
    config["Image"] = image
    config.pop("Volumes", None)
    host["VolumesFrom"] = None
    host["Binds"], host["Mounts"] = _mounts(definition)
    endpoints, gone = _networks(wire, definition)
    if gone:
        host["NetworkMode"] = next(iter(endpoints), "none")
    first = dict(list(endpoints.items())[:1])  # up to 24.0 an engine takes but one here
    made = wire.call(
        "POST",
        "/containers/create",
        f"make container {name}",
        {"name": name},
        body={**config, "HostConfig": host, "NetworkingConfig": {"EndpointsConfig": first}},
        timeout=BUSY,
        kind=SafedockerError,
    )
    return answers.text(answers.mapping(made.json()), "Id")


def _networks(
    wire: Wire, definition: Mapping[str, Any]
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """What was asked of each of its networks that is there, and the names of those that are not."""
    networks = answers.mapping(answers.mapping(definition.get("NetworkSettings")).get("Networks"))
    listed = wire.json("GET", "/networks", "list its networks")
    there = {answers.text(answers.mapping(one), "Name") for one in listed}
    old = answers.text(definition, "Id")
    endpoints = {
        net: _endpoint(answers.mapping(one), old) for net, one in networks.items() if net in there
    }
    return endpoints, [net for net in networks if net not in there]


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
        "DriverOpts": one.get("DriverOpts"),
        "Aliases": [alias for alias in aliases if alias != old[:12]],
    }
