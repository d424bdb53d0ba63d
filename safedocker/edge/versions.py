"""Remembers what the real clients said their versions are, as long as they are the same files.

A version that is wrong would make a preview wrong, so only a file that is a client by itself is
remembered: a script, or a small program that starts another, says nothing about what it starts.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safedocker.command.parse import Command

Version = tuple[int, ...]

LAYOUT = 1  # of the file
MOST_KEPT = 32
_MOST_READ = 65536  # bytes
_MAGIC = (b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe")  # Linux; macOS, one or both kinds
_WHOLE_CLIENT = 4 << 20  # bytes; docker and Compose have more than 20 MB, a starter has less
_SETTLED_SECONDS = 2.0  # a file changed a moment ago may change again without its times telling

# Source: docker/cli cli-plugins/manager/manager_unix.go defaultSystemPluginDirs.
PLUGIN_FOLDERS = (
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
)


def remembered(
    what: str, binaries: Sequence[str], ask: Callable[[], Version | None]
) -> Version | None:
    """The version that `ask` gives; from the cache while every one of the binaries is unchanged.

    No binaries: always asked. What is not known is not remembered.
    """
    file = cache_file(os.environ)
    stamps = [_stamp(binary) for binary in binaries]
    if file is None or not stamps or None in stamps:
        return ask()
    key = json.dumps([what, stamps])
    entries = _read(file)
    if key in entries:
        return tuple(entries[key])
    version = ask()
    if version is not None:
        kept = dict([*entries.items(), (key, list(version))][-MOST_KEPT:])
        _write(file, kept)
    return version


def cache_file(environ: Mapping[str, str]) -> Path | None:
    """Where the versions are kept; None where there is no place for it."""
    folder = environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(folder):  # as the XDG specification has it: a relative one does not count
        home = environ.get("HOME", "")
        if not os.path.isabs(home):
            return None
        folder = os.path.join(home, ".cache")
    return Path(folder, "safedocker", "versions.json")


def config(command: Command, environ: Mapping[str, str]) -> dict[str, object]:
    """Docker's config.json for this command; empty where it can't be read, as docker has it."""
    try:
        said = json.loads(Path(_config_folder(command, environ), "config.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def builder_alias(command: Command, environ: Mapping[str, str]) -> str:
    """The plugin that `docker builder` stands for, by config.json's aliases; "" for none."""
    aliases = config(command, environ).get("aliases")
    name = aliases.get("builder", "") if isinstance(aliases, dict) else ""
    return name if isinstance(name, str) else ""


def forbidden_alias(command: Command, environ: Mapping[str, str]) -> str:
    """An alias of config.json that makes every docker command fail; "" for none.

    Source: docker/cli cmd/docker/aliases.go, processAliases; 20.10 to 28.5 do.
    """
    aliases = config(command, environ).get("aliases")
    named = aliases if isinstance(aliases, dict) else {}
    if not all(isinstance(value, str) for value in named.values()):
        return ""  # then the file can't be read, and docker goes on without it
    return next((name for name in named if name != "builder"), "")


def plugin_binaries(
    real: str, name: str, command: Command, environ: Mapping[str, str]
) -> tuple[str, ...]:
    """The docker at `real` and every file that may be its plugin of that name, for `remembered`.

    All of them, since which comes first is docker's to say. Nothing where none is found: then
    docker knows a place that we do not. Source: docker/cli cli-plugins/manager getPluginDirs.
    """
    extra = config(command, environ).get("cliPluginsExtraDirs")
    folders = [one for one in extra if isinstance(one, str)] if isinstance(extra, list) else []
    folders += [os.path.join(_config_folder(command, environ), "cli-plugins"), *PLUGIN_FOLDERS]
    paths = (os.path.join(folder, f"docker-{name}") for folder in dict.fromkeys(folders))
    found = [path for path in paths if os.path.lexists(path)]
    return (real, *found) if found else ()


def _config_folder(command: Command, environ: Mapping[str, str]) -> str:
    folder = command.global_value("config") or environ.get("DOCKER_CONFIG")
    return folder or os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".docker")


def _stamp(binary: str) -> list[str | int] | None:
    """What tells this file from any other that was or will be there; None for one that may change
    what it is without changing."""
    path = os.path.realpath(binary)
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            magic = file.read(4)
    except OSError:
        return None
    # `snap` and the starters of version managers are one program behind many names.
    named = os.path.basename(path).startswith(("docker", "com.docker."))
    settled = time.time() - status.st_ctime >= _SETTLED_SECONDS
    if not (named and settled and magic in _MAGIC and status.st_size >= _WHOLE_CLIENT):
        return None
    times = (status.st_mtime_ns, status.st_ctime_ns)
    return [path, status.st_dev, status.st_ino, status.st_size, *times]


def _read(file: Path) -> dict[str, list[int]]:
    """What is remembered; nothing where the file is not ours alone, or not what we write."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return {}
    with open(descriptor, "rb") as opened:
        status = os.fstat(descriptor)
        strange = status.st_uid != os.geteuid() or status.st_mode & 0o022
        if strange or not stat.S_ISREG(status.st_mode) or status.st_size > _MOST_READ:
            return {}
        try:
            said = json.loads(opened.read(_MOST_READ + 1))
        except (OSError, ValueError):
            return {}
    entries = said.get("versions") if isinstance(said, dict) else None
    if not isinstance(entries, dict) or said.get("layout") != LAYOUT:
        return {}
    return entries if all(_is_version(one) for one in entries.values()) else {}


def _is_version(value: object) -> bool:
    return (
        isinstance(value, list)
        and 0 < len(value) <= 4
        and all(type(part) is int and part >= 0 for part in value)
    )


def _write(file: Path, entries: dict[str, list[int]]) -> None:
    """Put the file in its place, whole and for us alone. A cache that can't be written is none."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=".versions-")  # mode 0600
        try:
            with open(descriptor, "w", encoding="utf-8") as opened:
                json.dump({"layout": LAYOUT, "versions": entries}, opened)
            os.replace(name, file)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
