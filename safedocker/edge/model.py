"""What Compose prints, as nouns: its resolved configuration (v2's JSON, v1's YAML) and its dry run.

Which host paths a mount makes is written here, as it hangs on how each Compose prints it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from safedocker.edge.answers import mapping, mappings, sequence, text
from safedocker.loss.facts import DryRun, HostPath, ModelService, ModelVolume
from safedocker.loss.hints import Mounted

# A long mount without a `bind:` map is made since (it was not on 2.26, it is on 2.40), and with one
# that does not say `create_host_path` since 5.0.2. Sources: docker-semantics 4.4 and 9.4.
BARE_BIND_MADE_SINCE = (2, 27)
EVERY_BIND_MADE_SINCE = (5, 0, 2)
RENEWING = ("always", "build", "refresh", "daily", "weekly", "every_")

_LINE = re.compile(
    r"^\s*(?:DRY-RUN MODE -\s+)?(Container|Volume|Image)\s+\"?([^\s\"]+)\"?\s+"
    r"(Removing|Removed|Resource is still|Recreate|Recreated|Creating)\b"
)
_QUESTION = re.compile(r"Volume \"([^\"]+)\" exists but doesn't match configuration")


def volumes(section: object, project: str | None = None) -> tuple[ModelVolume, ...]:
    """Read the volumes section. v2 writes every name out; v1 leaves the project's own without one
    (`project` is given then), and they are called PROJECT_KEY."""
    found = []
    for key, value in mapping(section).items():
        about = mapping(value)
        name = about.get("name") or (f"{project}_{key}" if project is not None else key)
        found.append(ModelVolume(key, str(name), bool(about.get("external"))))
    return tuple(found)


def services(section: object, project: str, version: Sequence[int]) -> tuple[ModelService, ...]:
    """Read the services section, as the Compose of this version prints it and would act on it."""
    return tuple(
        _service(name, mapping(about), project, tuple(version))
        for name, about in mapping(section).items()
    )


def _service(
    name: str, about: Mapping[str, Any], project: str, version: tuple[int, ...]
) -> ModelService:
    first = version[:1] == (1,)
    image = text(about, "image")
    if not image:
        image = f"{project.lstrip('_-')}_{name}" if first else f"{project}-{name}"
    binds: dict[str, HostPath] = {}
    needs: list[str] = []
    anonymous: set[str] = set()
    taken: set[str] = set()
    keys: set[str] = set()
    for mount in _mounts(about):
        kind, source, target = text(mount, "type"), text(mount, "source"), text(mount, "target")
        if kind == "volume" and not source:
            anonymous.add(target)
            continue
        taken.add(target)
        if kind == "volume":
            keys.add(source)
        elif kind == "bind" and _makes(mount, version):
            binds[target] = HostPath(source, target, name, image)
        elif kind == "bind":
            needs.append(source)
    depends = about.get("depends_on")
    conditions = {key: mapping(value) for key, value in mapping(depends).items()}
    shares = tuple(dict.fromkeys(_shared(about)))
    links = [str(link).partition(":")[0] for link in sequence(about, "links")]
    named = conditions or (depends if isinstance(depends, list) else ())
    return ModelService(
        name=name,
        image=image,
        binds=tuple(binds.values()),
        needs=tuple(needs),
        anonymous=frozenset(anonymous - taken),
        taken=frozenset(taken),
        volumes=frozenset(keys),
        depends=tuple(dict.fromkeys((*map(str, named), *links, *shares))),
        shares=shares,
        restarts_with=tuple(key for key, value in conditions.items() if value.get("restart")),
        linked=bool(links),
        replicas=_replicas(about),
        renewed=text(about, "pull_policy").startswith(RENEWING),
        built=bool(about.get("build")),
        gated=bool(about.get("profiles")),
        watched=any(
            text(rule, "action") == "rebuild"
            for rule in mappings(mapping(about.get("develop")), "watch")
        ),
        mounted=tuple(_mounted(about)),
        tmpfs=tuple(_tmpfs(about)),
        container=text(about, "container_name") or _container(project, name, first=first),
        user=text(about, "user"),
        memory=_memory(about, first=first),
        environ=_environ(about.get("environment")),
    )


def _mounts(about: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        _mount_of_v1(one) if isinstance(one, str) else mapping(one)
        for one in sequence(about, "volumes")
    ]


def _mounted(about: Mapping[str, Any]) -> Iterable[Mounted]:
    for mount in _mounts(about):
        kind, source, target = text(mount, "type"), text(mount, "source"), text(mount, "target")
        if kind != "tmpfs":
            yield Mounted(kind, source, target, mount.get("read_only") is True)


def _tmpfs(about: Mapping[str, Any]) -> Iterable[str]:
    for mount in _mounts(about):
        if text(mount, "type") == "tmpfs":
            size = mapping(mount.get("tmpfs")).get("size")
            yield text(mount, "target") + (f":size={size}" if size else "")
    told = about.get("tmpfs")
    yield from [told] if isinstance(told, str) else map(str, sequence(about, "tmpfs"))


def _container(project: str, service: str, *, first: bool) -> str:
    """The name that Compose gives to a service's first container."""
    return f"{project.lstrip('_-')}_{service}_1" if first else f"{project}-{service}-1"


def _memory(about: Mapping[str, Any], *, first: bool) -> str:
    """v1 heeds what `deploy` says with --compatibility alone, and prints it as mem_limit then."""
    limits = mapping(mapping(mapping(about.get("deploy")).get("resources")).get("limits"))
    return str(about.get("mem_limit") or ("" if first else limits.get("memory", "")))


def _environ(told: object) -> dict[str, str]:
    """A service's environment; what has no value is the client's own, and not known here."""
    return {str(key): str(value) for key, value in mapping(told).items() if value is not None}


def _mount_of_v1(spec: str) -> dict[str, Any]:
    """Read `/anon`, `key:/target[:mode]` or `/host:/target[:mode]`.

    Source: docker-compose 1.29.2 compose/config/types.py VolumeSpec.
    """
    source, colon, rest = spec.partition(":")
    if not colon:
        return {"type": "volume", "target": spec}
    target, _, mode = rest.partition(":")
    mount = {"source": source, "target": target, "read_only": "ro" in mode.split(",")}
    if not source.startswith(("/", ".", "~")):
        return {"type": "volume", **mount}
    return {"type": "bind", **mount, "bind": {"create_host_path": True}}


def _makes(mount: Mapping[str, Any], version: tuple[int, ...]) -> bool:
    """Is the source of a bind mount made where it is missing?"""
    said = mapping(mount.get("bind")).get("create_host_path")
    if isinstance(said, bool):
        return said
    if "bind" not in mount:
        return version >= BARE_BIND_MADE_SINCE
    return version >= EVERY_BIND_MADE_SINCE


def _shared(about: Mapping[str, Any]) -> Iterable[str]:
    """The services that this one's containers refer to by the ids of theirs."""
    for key in ("network_mode", "ipc", "pid"):
        kind, _, name = text(about, key).partition(":")
        if kind == "service":
            yield name
    for entry in map(str, sequence(about, "volumes_from")):
        if not entry.startswith("container:"):
            yield entry.removeprefix("service:").partition(":")[0]


def _replicas(about: Mapping[str, Any]) -> int:
    scale = about.get("scale")
    if scale is None:
        scale = mapping(about.get("deploy")).get("replicas")
    return scale if isinstance(scale, int) else 1


def read_dry_run(text: str) -> DryRun:
    """Given what a dry run printed, on both streams, return the names in it, each once.

    A container that is replaced goes by its own name; what is started goes by a name for the time
    being, ID_NAME, and is left out. Seen on 2.26 and 2.40.
    """
    found: dict[tuple[str, str], dict[str, None]] = {}
    for line in text.splitlines():
        match = _LINE.match(line)
        if match:
            what, name, event = match.groups()
            found.setdefault((what, event[:6]), {})[name] = None

    def names(what: str, *events: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(n for event in events for n in found.get((what, event), ())))

    return DryRun(
        containers=names("Container", "Removi", "Remove", "Resour"),
        volumes=names("Volume", "Removi", "Remove", "Resour"),
        replaced=names("Container", "Recrea"),
        made=names("Volume", "Creati"),
        asked=tuple(dict.fromkeys(_QUESTION.findall(text))),
        images=names("Image", "Removi", "Remove"),
    )
