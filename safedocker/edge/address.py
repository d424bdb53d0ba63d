"""Which engine a docker command will reach: Docker's own order of options, environment and files.

Nothing is connected here; what cannot be an address ends in NoEngine.
Source: docker/cli cli/command/cli.go and cli/flags/options.go, opts/hosts.go, v20.10 to v28.5.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from safedocker.edge import aliases, answers
from safedocker.errors import NoAddress, NoContext, NoEngine
from safedocker.loss.facts import EngineIdentity

DEFAULT_SOCKET = "unix:///var/run/docker.sock"
DEFAULT_PIPE = "npipe:////./pipe/docker_engine"
TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})  # Go's strconv.ParseBool
# Before, an empty DOCKER_HOST meant the default socket, whatever the current context
# (docker/cli#3667), and an empty DOCKER_CONTEXT a context without a name.
EMPTY_IS_UNSET = (23,)


@dataclass(frozen=True)
class Tls:
    """The files of a TLS connection. Without a ca the machine's own roots are trusted."""

    ca: str | None
    cert: str | None
    key: str | None
    verify: bool


@dataclass(frozen=True)
class Address:
    """Where an engine is, and how that was found."""

    host: str  # as Docker writes it: "unix:///…", "tcp://h:2375", "ssh://me@box"
    source: str  # "--host", "--context prod", "DOCKER_HOST", "current context prod", "default"
    context: str  # the name of the context in force; "default" when a host was named
    tls: Tls | None
    remote: bool  # neither a socket nor a loopback address
    headers: tuple[tuple[str, str], ...] = ()  # HttpHeaders of config.json
    also: tuple[tuple[str, str], ...] = ()  # the engine's other names: ("context", "prod"), ...
    doubted: bool = False  # does a variable's or an option's word alone make it that context's?


def resolve(
    options: Mapping[str, str],
    environ: Mapping[str, str],
    client: tuple[int, ...] | None = None,
) -> Address:
    """Return the address that docker, or Compose v2, would use with these global options.

    `options` holds the global options by long name, the last value of each; flags as "true" or
    "false". `client` is the version of docker, None for a recent one. Raise NoEngine for a missing
    context, a missing certificate, a host Docker refuses, and for --host together with --context,
    which Docker refuses too.
    """
    config = _config(Path(options.get("config") or _config_dir(environ)))
    if client is None or client >= EMPTY_IS_UNSET:
        environ = {name: value for name, value in environ.items() if value}
    context, source = _context(options, environ, config)
    if context == "default":
        tls = _default_tls(options, environ)
        host = options.get("host", environ.get("DOCKER_HOST", ""))
        if "host" in options:
            source = "--host"
        elif host:
            source = "DOCKER_HOST"
        else:
            source = "default"
        host = _parse_host(host, tls is not None)
    else:
        host, tls = _named(context, source, config.folder)
    if host.startswith(("unix:", "npipe:", "fd:", "ssh:")):
        tls = None  # the client speaks plain HTTP over these, whatever the flags say
    shown = f"current context {context}" if source == "config.json" else source
    return _told(host, shown, context, tls, config)


def _told(host: str, source: str, context: str, tls: Tls | None, config: _Config) -> Address:
    also = aliases.known(host, aliases.folders(config.folder))
    doubted = aliases.is_doubted(context, host)
    return Address(host, source, context, tls, _is_remote(host), config.headers, also, doubted)


def identify(
    address: Address, info: Mapping[str, Any], version: str, api: tuple[int, int]
) -> EngineIdentity:
    """The engine at an address, by what GET /info tells of it."""
    return EngineIdentity(
        host=address.host,
        source=address.source,
        name=answers.text(info, "Name"),
        id=answers.text(info, "ID"),
        version=version,
        api=api,
        remote=address.remote,
        context=address.context,
        also=address.also,
        doubted=address.doubted,
    )


def context_in_force(
    options: Mapping[str, str],
    environ: Mapping[str, str],
    client: tuple[int, ...] | None = None,
) -> tuple[str, Path]:
    """Return the name of the context that docker would use, there or not, and the folder of the
    configuration. Arguments as for `resolve`; raise NoEngine for --host together with --context."""
    config = _config(Path(options.get("config") or _config_dir(environ)))
    if client is None or client >= EMPTY_IS_UNSET:
        environ = {name: value for name, value in environ.items() if value}
    return _context(options, environ, config)[0], config.folder


@dataclass(frozen=True)
class _Config:
    folder: Path
    current: str
    headers: tuple[tuple[str, str], ...]


def _config_dir(environ: Mapping[str, str]) -> Path:
    if environ.get("DOCKER_CONFIG"):
        return Path(environ["DOCKER_CONFIG"])
    return Path(environ.get("HOME") or Path.home()) / ".docker"


def _config(folder: Path) -> _Config:
    """Read config.json. One that cannot be read counts as empty: Docker warns and goes on."""
    try:
        found = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        found = {}
    if not isinstance(found, dict):
        found = {}
    current = found.get("currentContext")
    headers = found.get("HttpHeaders")
    pairs = headers.items() if isinstance(headers, dict) else ()
    return _Config(
        folder,
        current if isinstance(current, str) else "",
        tuple((key, value) for key, value in pairs if isinstance(value, str)),
    )


def _context(
    options: Mapping[str, str], environ: Mapping[str, str], config: _Config
) -> tuple[str, str]:
    """Return the context's name and where it came from.

    Source: docker/cli cli/command/cli.go, resolveContextName.
    """
    named = options.get("context", "")
    if named and "host" in options:
        raise NoAddress("docker refuses --host and --context together", "leave one of them out")
    if named:
        return named, f"--context {named}"
    if "host" in options or "DOCKER_HOST" in environ:
        return "default", "default"
    if "DOCKER_CONTEXT" in environ:
        return environ["DOCKER_CONTEXT"], "DOCKER_CONTEXT"
    if config.current:
        return config.current, "config.json"
    return "default", "default"


def _named(context: str, source: str, folder: Path) -> tuple[str, Tls | None]:
    """Read a named context's endpoint. Source: docker/cli cli/context/store."""
    digest = hashlib.sha256(context.encode("utf-8", "surrogateescape")).hexdigest()
    meta = folder / "contexts" / "meta" / digest / "meta.json"
    where = (
        f"the current context in {folder / 'config.json'}" if source == "config.json" else source
    )
    try:
        found = json.loads(meta.read_bytes())
        endpoint = found["Endpoints"]["docker"]
        host = endpoint.get("Host") or DEFAULT_SOCKET
        skip = bool(endpoint.get("SkipTLSVerify"))
    except FileNotFoundError:
        raise NoContext(
            f'there is no Docker context "{context}" ({where})',
            "see which there are: docker context ls",
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise NoEngine(
            f'the Docker context "{context}" ({where}) can\'t be read: {error}', f"repair {meta}"
        ) from error
    if not isinstance(host, str) or "://" not in host:
        raise NoEngine(
            f'the Docker context "{context}" ({where}) names no usable host: {host!r}',
            f"repair {meta}",
        )
    material = folder / "contexts" / "tls" / digest / "docker"
    ca, cert, key = (
        str(path) if path.is_file() else None
        for path in (material / "ca.pem", material / "cert.pem", material / "key.pem")
    )
    if ca is cert is key is None and not skip:
        return host, None
    return host, Tls(ca, cert, key, verify=not skip)


def resolve_compose_v1(options: Mapping[str, str], environ: Mapping[str, str]) -> Address:
    """Return the address that Compose v1 would use; arguments and faults as for `resolve`.

    It goes its own way: the project's .env counts (merge it below `environ` first), DOCKER_CONTEXT
    does not, a TCP address needs its port, and the default context is the default socket.
    Source: docker-compose 1.29.2 compose/cli/docker_client.py, docker-py 5.0.3 docker/context.
    """
    folder = _config_dir(environ)
    if not (folder / "config.json").exists():
        folder = Path(environ.get("HOME") or Path.home()) / ".docker"
    config = _config(folder)
    named, tls = options.get("context", ""), _tls_of_compose_v1(options, environ)
    context, source = "default", "default"
    if "host" in options:
        if named:
            raise NoEngine("Compose refuses --host and --context together", "leave one of them out")
        host, source = _host_of_compose_v1(options["host"].lstrip("=")), "--host"
    elif not named and environ.get("DOCKER_HOST"):
        host, source = _host_of_compose_v1(environ["DOCKER_HOST"]), "DOCKER_HOST"
    else:
        # Certificates in the environment make it forget the current context's host.
        context = named or ("" if tls else config.current) or "default"
        if context == "default":
            host = DEFAULT_SOCKET
        else:
            source = f"--context {context}" if named else f"current context {context}"
            host, own = _named(context, source, folder)
            tls = own or tls
    if not host.startswith("tcp:"):
        tls = None
    return _told(host, source, context, tls, config)


def _host_of_compose_v1(host: str) -> str:
    host = _parse_host(host, tls=False)
    if host.startswith("unix://") and not host.startswith("unix:///"):
        return host.replace("unix://", "unix:///", 1)
    return host


def _tls_of_compose_v1(options: Mapping[str, str], environ: Mapping[str, str]) -> Tls | None:
    verify = options.get("tlsverify") in TRUE or bool(environ.get("DOCKER_TLS_VERIFY"))
    folder = environ.get("DOCKER_CERT_PATH")
    flags = [options.get(f"tls{name}") for name in ("cacert", "cert", "key")]
    if not (verify or folder or any(flags) or options.get("tls") in TRUE):
        return None
    if any(flags):
        ca, cert, key = (flag or None for flag in flags)
    elif verify or folder:
        place = Path(folder or Path(environ.get("HOME") or Path.home()) / ".docker")
        ca, cert, key = (str(place / f"{name}.pem") for name in ("ca", "cert", "key"))
    else:
        ca = cert = key = None
    return Tls(ca, cert, key, verify)


def _default_tls(options: Mapping[str, str], environ: Mapping[str, str]) -> Tls | None:
    """Return the TLS settings of the default context.

    --tlsverify turns TLS on even when it is false; an environment variable counts when it is not
    empty, "0" too; the folder does not follow --config.
    Source: docker/cli cli/flags/options.go, InstallFlags and SetDefaultOptions.
    """
    verify = bool(environ.get("DOCKER_TLS_VERIFY"))
    if "tlsverify" in options:
        verify = options["tlsverify"] in TRUE
    on = bool(environ.get("DOCKER_TLS"))
    if "tls" in options:
        on = options["tls"] in TRUE
    if not (on or verify or "tlsverify" in options):
        return None
    folder = Path(environ.get("DOCKER_CERT_PATH") or _config_dir(environ))
    files: dict[str, str | None] = {}
    for flag, name in (("tlscacert", "ca.pem"), ("tlscert", "cert.pem"), ("tlskey", "key.pem")):
        path = options.get(flag, str(folder / name))
        if not path:
            files[flag] = None
        elif Path(path).is_file():
            files[flag] = path
        elif flag == "tlscacert" or flag in options:
            raise NoAddress(
                f"TLS to the engine is asked for, but {path} is missing",
                "DOCKER_CERT_PATH says where the certificates are; DOCKER_TLS_VERIFY, DOCKER_TLS, "
                "--tls and --tlsverify ask for them",
            )
        else:
            files[flag] = None
    return Tls(files["tlscacert"], files["tlscert"], files["tlskey"], verify)


def _parse_host(host: str, tls: bool) -> str:
    """Spell a host out as Docker does. Source: docker/cli opts/hosts.go, ParseHost."""
    host = host.strip()
    if not host:
        return "tcp://localhost:2376" if tls else DEFAULT_SOCKET
    scheme, separator, rest = host.partition("://")
    if not separator:
        scheme, rest = "tcp", host
    if scheme == "unix":
        return f"unix://{rest}" if rest else DEFAULT_SOCKET
    if scheme == "npipe":
        return f"npipe://{rest}" if rest else DEFAULT_PIPE
    if scheme in {"ssh", "fd"}:
        return host
    refused = NoAddress(
        f"{host!r} is no address of a Docker engine",
        "docker takes unix://, tcp:// and ssh:// addresses in --host and DOCKER_HOST",
    )
    if scheme != "tcp" or "://" in rest:
        raise refused
    try:
        parts = urlsplit(f"tcp://{rest}")
        # Unlike an empty host, a host without a port gets 2375 with TLS too.
        name, port = parts.hostname or "localhost", parts.port or 2375
    except ValueError:
        raise refused from None
    name = f"[{name}]" if ":" in name else name
    return f"tcp://{name}:{port}{parts.path}"


def _is_remote(host: str) -> bool:
    scheme = host.partition("://")[0]
    if scheme in {"unix", "npipe", "fd"}:
        return False
    name = urlsplit(host).hostname or "localhost"
    if name == "localhost":
        return False
    try:
        return not ipaddress.ip_address(name).is_loopback
    except ValueError:
        return True
