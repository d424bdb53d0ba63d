"""Other names of the engine that a command addresses: other spellings of its address, and the
contexts of this machine that lead to it. What a policy says of those is layers.py's.

Nobody is asked: what a name resolves to, and what ssh's own configuration makes of it, is not told.
"""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from safedocker.edge import answers, process

DEFAULT_PATH = "/var/run/docker.sock"
PORTS = {"tcp": 2375, "ssh": 22}  # that an address without one means
_MOST = 1000  # contexts of one store that are read
_LARGEST = 1 << 20  # bytes of one


def folders(named: Path) -> tuple[Path, ...]:
    """The configurations whose contexts are known: the one in force, that of HOME, of the account,
    and of the person who typed sudo."""
    uids = (os.getuid(), process.behind_sudo())
    homes = (process.account_home(uid) for uid in uids if uid is not None)
    own = [Path(home, ".docker") for home in (process.home(), *homes) if home]
    return tuple(dict.fromkeys((named, *own)))


def known(host: str, stores: Sequence[Path]) -> tuple[tuple[str, str], ...]:
    """The other names of the engine at an address: ("host", spelling) and ("context", name)."""
    meant = canonical(host)
    hosts = [("host", one) for one in _spellings(meant) if one != host]
    if meant == canonical(f"unix://{DEFAULT_PATH}"):
        hosts.append(("context", "default"))
    contexts = [
        ("context", name)
        for store in stores
        for name, leads in _contexts(store)
        if canonical(leads) == meant
    ]
    return tuple(dict.fromkeys((*hosts, *contexts)))


def is_doubted(context: str, host: str) -> bool:
    """Is it a variable's or an option's word alone that this engine is the one of this context? The
    account's own configuration has none of this name that leads there."""
    if context == "default":
        return not host.startswith(("unix:", "npipe:", "fd:"))
    own = process.account_home(os.getuid())
    pairs = _contexts(Path(own, ".docker")) if own else ()
    return all(name != context or canonical(leads) != canonical(host) for name, leads in pairs)


def canonical(host: str) -> str:
    """One spelling for all of an address: no user, the port told, letters of a host's name small,
    links to a socket followed."""
    scheme, found, rest = host.strip().partition("://")
    scheme = scheme.lower()
    if scheme == "unix":
        return f"unix://{os.path.realpath(rest or DEFAULT_PATH)}"
    if not found or scheme not in PORTS:
        return f"{scheme}{found}{rest}"
    try:
        parts = urlsplit(f"{scheme}://{rest}")
        name, port = parts.hostname or "localhost", parts.port or PORTS[scheme]
    except ValueError:
        return f"{scheme}://{rest}"
    name = "localhost" if _is_loopback(name) else name.rstrip(".")
    return f"{scheme}://{f'[{name}]' if ':' in name else name}:{port}{parts.path.rstrip('/')}"


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _spellings(meant: str) -> Iterator[str]:
    """What a rule may have written for an address that is spelled as `canonical` does."""
    yield meant
    scheme, _, rest = meant.partition("://")
    if scheme == "unix":
        if rest == os.path.realpath(DEFAULT_PATH):
            yield f"unix://{DEFAULT_PATH}"
        return
    names = [rest]
    if rest.startswith("localhost:"):
        names += [f"{one}{rest.removeprefix('localhost')}" for one in ("127.0.0.1", "[::1]")]
    for name in names:
        yield f"{scheme}://{name}"
        if (port := f":{PORTS.get(scheme)}") in name:
            yield f"{scheme}://{name.replace(port, '', 1)}"


def _contexts(folder: Path) -> Iterator[tuple[str, str]]:
    """The contexts of a configuration that can be read, and where they lead. Source: docker/cli
    cli/context/store: contexts/meta/DIGEST/meta.json."""
    try:
        with os.scandir(folder / "contexts" / "meta") as listed:
            places = sorted(one.path for one in listed)[:_MOST]
    except OSError:
        return
    for place in places:
        try:
            with open(os.path.join(place, "meta.json"), "rb") as file:
                told = answers.mapping(json.loads(file.read(_LARGEST)))
        except (OSError, ValueError, RecursionError):
            continue
        endpoints = answers.mapping(told.get("Endpoints"))
        host = answers.text(answers.mapping(endpoints.get("docker")), "Host")
        if name := answers.text(told, "Name"):
            yield name, host or f"unix://{DEFAULT_PATH}"
