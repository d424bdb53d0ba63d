"""Writes the shims, knows its own, and takes them away again."""

from __future__ import annotations

import os
import pathlib
import shlex
import shutil
import sys
from importlib import resources

import safedocker
from safedocker.edge import process
from safedocker.errors import SafedockerError

PROGRAMS = ("docker", "docker-compose")
_END = b"# <<< safedocker install wrote these lines <<<"


def install(shims: pathlib.Path, real: str | None, real_compose: str | None) -> list[str]:
    """Write `docker` and `docker-compose` into a folder; return lines that say what was done.

    The real binaries are those given, or the first on PATH that is not a shim of ours. A program
    that is not on the machine gets its shim all the same: it finds the real one once it is there.
    Raise SafedockerError when something that is not ours stands in the way.
    """
    shims = shims.absolute()
    targets = {"docker": real, "docker-compose": real_compose}
    for program in PROGRAMS:
        place = shims / program
        if place.exists() and not process.is_shim(str(place)):
            raise SafedockerError(
                f"{place} is there and is not a safedocker shim: nothing was written",
                "choose a folder of its own for the shims",
            )
    shims.mkdir(parents=True, exist_ok=True)
    lines = []
    for program in PROGRAMS:
        found = _real(program, targets[program], shims)
        _write(shims / program, _filled(program, found))
        lines.append(f"{shims / program} stands before {found or f'{program}, not found yet'}")
    if str(shims) not in os.environ.get("PATH", "").split(os.pathsep):
        lines.append(f"put it first on PATH: export PATH={shlex.quote(str(shims))}:$PATH")
    return lines


def uninstall(shims: pathlib.Path) -> list[str]:
    """Remove our shims from a folder, and the folder when that leaves it empty."""
    lines = []
    for program in PROGRAMS:
        place = shims / program
        if process.is_shim(str(place)):
            place.unlink()
            lines.append(f"removed {place}")
        elif place.exists():
            lines.append(f"left {place}: not a safedocker shim")
    if not lines:
        raise SafedockerError(f"no safedocker shim in {shims}")
    if shims.is_dir() and not any(shims.iterdir()):
        shims.rmdir()
    return lines


def _real(program: str, given: str | None, shims: pathlib.Path) -> str:
    """The absolute path of the real binary, "" when the machine has none."""
    if given is not None:
        path = os.path.abspath(given)
        if not os.access(path, os.X_OK) or os.path.isdir(path) or process.is_shim(path):
            raise SafedockerError(f"{given} is no program that a shim could stand before")
        return path
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        found = shutil.which(program, path=folder) if folder else None
        if found and not process.is_shim(found):
            return os.path.abspath(found)
    return ""


def _filled(program: str, real: str) -> bytes:
    """The template with this machine's paths between its markers."""
    root = pathlib.Path(safedocker.__file__).resolve().parent.parent
    settings = {"sd_real": real, "sd_python": sys.executable, "sd_root": str(root)}
    lines = "".join(f"{key}={shlex.quote(value)}\n" for key, value in settings.items())
    head, rest = _template(program).split(process.SHIM_MARK + b"\n", 1)
    _, tail = rest.split(_END, 1)
    return head + process.SHIM_MARK + b"\n" + os.fsencode(lines) + _END + tail


def _template(program: str) -> bytes:
    """The shim's text: in the wheel beside this file, in a checkout in shell/."""
    packed = resources.files("safedocker") / "shell" / program
    if packed.is_file():
        return packed.read_bytes()
    return (pathlib.Path(__file__).resolve().parent.parent / "shell" / program).read_bytes()


def _write(place: pathlib.Path, content: bytes) -> None:
    """Written beside its place, synced, renamed into it: a shim is never half there."""
    beside = place.with_name(f".{place.name}.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o755)
    try:
        os.write(descriptor, content)
        os.fchmod(descriptor, 0o755)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    beside.replace(place)
