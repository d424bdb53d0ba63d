"""A container out of the engine and back: its layer, its definition, its mounts."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from safedocker.edge.engine import Engine
from safedocker.errors import SafedockerError
from tests.engine import test_take
from tests.engines import PrivateEngine

WRITES = """
echo hi > /new; mkdir -m 750 /d; head -c 3000000 /dev/urandom > /d/big; rm /etc/passwd
ln -s /new /link; ln /new /hard; chmod 4755 /bin/busybox; touch -d '2001-02-03 04:05:06' /old
chown 7:8 /d; mkfifo /pipe; echo kept > /anon/file; echo named > /named/file
"""


@pytest.fixture
def box(fresh: PrivateEngine) -> PrivateEngine:
    """An engine with a network and a stopped container of some account."""
    fresh.run("docker", "network", "create", "inner")
    fresh.run(
        *("docker", "run", "--name", "box", "--network", "inner", "--network-alias", "db"),
        *("-v", "/anon", "--mount", "type=volume,dst=/named", "-v", "/tmp:/host:ro"),
        *("-e", "A=b c", "--label", "x=y", "--restart", "on-failure:3", "--memory", "64m"),
        *("--stop-signal", "SIGINT", "-w", "/d", "--user", "0", "busybox", "sh", "-c", WRITES),
    )
    return fresh


def exported(engine: PrivateEngine) -> str:
    """A digest of the container's whole file system, with owners, modes and times."""
    # The others are the engine's own, made anew with the container, or places where it mounts.
    ours = "grep -vE ' (dev|proc|sys|anon|named|host|etc/$|etc/(host|resolv|mtab)|.dockerenv)'"
    listing = f"docker export box | tar -tv --full-time --numeric-owner | {ours} | sort"
    contents = "docker export box | tar -xO d/big new hard | sha256sum"
    return engine.run("sh", "-c", f"{listing}; {contents}").stdout


def settled(engine: PrivateEngine) -> dict[str, object]:
    """What was asked of the container, and where its volumes are."""
    (found,) = json.loads(engine.run("docker", "inspect", "box").stdout)
    config = {key: found["Config"][key] for key in found["Config"] if key not in UNLIKE}
    host = {
        key: found["HostConfig"][key]
        for key in ("RestartPolicy", "Memory", "NetworkMode", "AutoRemove")
    }
    mounts = sorted(
        (mount["Type"], mount.get("Name") or mount["Source"], mount["Destination"], mount["RW"])
        for mount in found["Mounts"]
    )
    networks = {
        name: [alias for alias in one["Aliases"] if alias != found["Id"][:12]]
        for name, one in found["NetworkSettings"]["Networks"].items()
    }
    return {"config": config, "host": host, "mounts": mounts, "networks": networks}


client = test_take.client
UNLIKE = {"Image", "Hostname", "Volumes"}


def kept(engine: Engine, id_: str) -> tuple[str, bytes]:
    with engine.read_layer(id_) as (digest, size, chunks):
        layer = b"".join(chunks)
        assert len(layer) == size
        return digest, layer


def remade(
    engine: Engine, name: str, definition: dict[str, object], *layer: Any
) -> tuple[str, tuple[str, ...]]:
    made = engine.maker.make(name, definition, *layer)
    return made, engine.maker.join(made, name, definition)


def test_a_container_comes_back_with_its_layer_and_all_that_was_asked_of_it(
    box: PrivateEngine, client: Engine
) -> None:
    id_ = box.run("docker", "ps", "-aq", "--no-trunc").stdout.strip()
    before = (exported(box), settled(box), box.holdings()["image"])
    definition = client.definition(id_)
    digest, layer = kept(client, id_)
    assert digest == f"sha256:{hashlib.sha256(layer).hexdigest()}"
    assert box.holdings()["image"] == before[2], "no image of ours is left"
    box.run("docker", "rm", "box")
    made, notes = remade(client, "box", definition, digest, len(layer), [layer[:7], layer[7:]])
    assert notes == ()
    assert (exported(box), settled(box)) == before[:2]
    assert made in box.holdings()["container"]
    box.run("docker", "start", "box")


def test_another_layer_than_that_of_the_digest_is_refused(
    box: PrivateEngine, client: Engine
) -> None:
    id_ = box.run("docker", "ps", "-aq", "--no-trunc").stdout.strip()
    definition = client.definition(id_)
    digest, layer = kept(client, id_)
    box.run("docker", "rm", "box")
    torn = layer.replace(b"hi", b"ho")
    with pytest.raises(SafedockerError):
        remade(client, "box", definition, digest, len(torn), [torn])
    assert not box.holdings()["container"]


def test_an_image_that_is_gone_is_told(box: PrivateEngine, client: Engine) -> None:
    id_ = box.run("docker", "ps", "-aq", "--no-trunc").stdout.strip()
    definition = client.definition(id_) | {"Image": f"sha256:{'0' * 64}"}
    with pytest.raises(SafedockerError, match="made from is not there"):
        remade(client, "box", definition, "sha256:0", 0, [])


def test_a_network_that_is_gone_is_told_and_the_container_is_made(
    box: PrivateEngine, client: Engine
) -> None:
    id_ = box.run("docker", "ps", "-aq", "--no-trunc").stdout.strip()
    definition = client.definition(id_)
    digest, layer = kept(client, id_)
    box.run("docker", "rm", "box")
    box.run("docker", "network", "rm", "inner")
    _made, (note,) = remade(client, "box", definition, digest, len(layer), [layer])
    box.run("docker", "network", "create", "inner")
    box.run("sh", "-c", note.partition("again: ")[2])
    assert settled(box)["networks"] == {"inner": []}
