"""The engine's JSON as nouns, and as values of a known type. What is odd reads as empty."""

from __future__ import annotations

import datetime
import posixpath
import re
from collections.abc import Mapping
from typing import Any

from safedocker.loss.facts import Container, HostPath, Image, Mount, Volume

RUNNING = frozenset({"running", "paused", "restarting"})


def mapping(value: object) -> dict[str, Any]:
    """Return an object."""
    return value if isinstance(value, dict) else {}


def sequence(value: Mapping[str, Any], key: str) -> list[Any]:
    """Return a field that is a list."""
    found = value.get(key)
    return found if isinstance(found, list) else []


def mappings(value: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """Return a field that is a list of objects."""
    return [one for one in sequence(value, key) if isinstance(one, dict)]


def text(value: Mapping[str, Any], key: str) -> str:
    """Return a field that is a string."""
    found = value.get(key)
    return found if isinstance(found, str) else ""


def texts(value: Mapping[str, Any], key: str) -> dict[str, str]:
    """Return a field that is an object of strings: labels, driver options."""
    return {name: one for name, one in mapping(value.get(key)).items() if isinstance(one, str)}


def volume(found: Mapping[str, Any]) -> Volume:
    """Read one of GET /volumes."""
    return Volume(
        name=text(found, "Name"),
        driver=text(found, "Driver"),
        options=texts(found, "Options"),
        labels=texts(found, "Labels"),
        created_at=text(found, "CreatedAt"),
        mountpoint=text(found, "Mountpoint"),
    )


def mount(found: Mapping[str, Any]) -> Mount:
    """Read one of a container's Mounts, of the list and of an inspection alike."""
    kind = text(found, "Type")
    return Mount(
        kind=kind,
        volume=text(found, "Name") if kind == "volume" else "",
        source=text(found, "Source"),
        target=text(found, "Destination"),
        anonymous=None,
        read_only=found.get("RW") is False,
    )


def tmpfs(inspected: Mapping[str, Any]) -> tuple[Mount, ...]:
    """Read where a container has a file system in memory: of --tmpfs its Mounts do not speak."""
    host = mapping(inspected.get("HostConfig"))
    found: dict[str, int | None] = {}
    for target, options in texts(host, "Tmpfs").items():
        given = dict(one.partition("=")[::2] for one in options.split(","))
        found[target] = _bytes(given.get("size", ""))
    for asked in mappings(host, "Mounts"):
        if text(asked, "Type") == "tmpfs":
            size = mapping(asked.get("TmpfsOptions")).get("SizeBytes")
            found[text(asked, "Target")] = size if isinstance(size, int) and size else None
    return tuple(
        Mount("tmpfs", "", "", target, None, limit=limit) for target, limit in sorted(found.items())
    )


def _bytes(size: str) -> int | None:
    """Read a size as the kernel takes it for a tmpfs: 65536, 64k, 100m, 1G."""
    digits, unit = size.rstrip("kKmMgG"), size.lstrip("0123456789").lower()
    shift = {"": 0, "k": 10, "m": 20, "g": 30}.get(unit)
    return int(digits) << shift if digits.isdecimal() and shift is not None else None


def container(found: Mapping[str, Any]) -> Container:
    """Read one of GET /containers/json."""
    # A legacy link adds names of the form /other/alias.
    names = [str(name).removeprefix("/") for name in sequence(found, "Names")]
    state = text(found, "State")
    # Source: moby container/state.go, (*State).String.
    ended = re.match(r"Exited \((\d+)\)", text(found, "Status"))
    return Container(
        id=text(found, "Id"),
        name=next((name for name in names if "/" not in name), text(found, "Id")[:12]),
        image=text(found, "Image"),
        running=state in RUNNING,
        labels=texts(found, "Labels"),
        mounts=tuple(map(mount, mappings(found, "Mounts"))),
        state=state,
        aliases=tuple(name for name in names if "/" in name),
        created=float(created) if isinstance(created := found.get("Created"), int) else 0.0,
        image_id=text(found, "ImageID"),
        exit_code=int(ended[1]) if ended else None,
    )


def asked_source(inspected: Mapping[str, Any], target: str) -> str | None:
    """Return the volume that a container was made with at a target, as Binds and Mounts tell it.

    "" when a volume was asked for without a name; None when neither speaks of the target.
    """
    host = mapping(inspected.get("HostConfig"))
    for bind in map(str, sequence(host, "Binds")):
        source, _, rest = bind.partition(":")
        if posixpath.normpath(rest.partition(":")[0] or source) == target:
            return source if rest else ""
    for asked in mappings(host, "Mounts"):
        if posixpath.normpath(text(asked, "Target")) == target:
            return text(asked, "Source")
    return None


def binds(inspected: Mapping[str, Any]) -> tuple[HostPath, ...]:
    """Read the host paths that the engine makes when this container's mounts are set up.

    A mount asked for by `--mount` is refused instead, unless it says CreateMountpoint; one that
    came by --volumes-from is made, whichever way the donor asked for it (seen on 20.10 to 28.5).
    Source: moby daemon/volumes.go registerMountPoints, volume/mounts/mounts.go Setup.
    """
    refused = {
        posixpath.normpath(text(asked, "Target"))
        for asked in mappings(mapping(inspected.get("HostConfig")), "Mounts")
        if mapping(asked.get("BindOptions")).get("CreateMountpoint") is not True
    }
    of = text(inspected, "Name").removeprefix("/")
    image = text(mapping(inspected.get("Config")), "Image")
    return tuple(
        HostPath(found.source, found.target, of, image)
        for found in map(mount, mappings(inspected, "Mounts"))
        if found.kind == "bind" and found.target not in refused
    )


def image(found: Mapping[str, Any]) -> Image:
    """Read one of GET /images/json."""
    size, created = found.get("Size"), found.get("Created")
    return Image(
        id=text(found, "Id"),
        names=tuple(n for n in map(str, sequence(found, "RepoTags")) if n != "<none>:<none>"),
        size=size if isinstance(size, int) else 0,
        parent=text(found, "ParentId"),
        labels=texts(found, "Labels"),
        created=float(created) if isinstance(created, int) else 0.0,
    )


def clock(moment: str) -> tuple[float, float | None]:
    """Read a time as `seconds` does; and the zone it is told in, in seconds east of Greenwich."""
    try:
        offset = datetime.datetime.fromisoformat(moment).utcoffset()
    except ValueError:
        offset = None
    return seconds(moment), None if offset is None else offset.total_seconds()


def seconds(moment: str) -> float:
    """Read the engine's way to write a time, as seconds since the epoch; 0.0 when it is none."""
    try:
        return datetime.datetime.fromisoformat(moment).timestamp()
    except ValueError:
        return 0.0
