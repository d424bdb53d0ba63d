"""Writes the shims, knows its own, and takes them away again. Which folder, and how a shell finds
it, is person.py's and system.py's."""

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
OWN = "safedocker"  # the program of our own commands, where nobody else puts it on PATH
_END = b"# <<< safedocker install wrote these lines <<<"


def install(shims: pathlib.Path, real: str | None, real_compose: str | None) -> list[str]:
    """Write `docker` and `docker-compose` into a folder; return lines that say what was done.

    The real binaries are those given, or the first on PATH that is not a shim of ours. A program
    that is not on the machine gets its shim all the same: it finds the real one once it is there.
    Raise SafedockerError when something that is not ours stands in the way.
    """
    lines = write(shims, real, real_compose)
    if str(shims.absolute()) not in os.environ.get("PATH", "").split(os.pathsep):
        shown = shlex.quote(str(shims.absolute()))
        lines.append(f"put it first on PATH: export PATH={shown}:$PATH")
    return lines


def write(
    shims: pathlib.Path, real: str | None, real_compose: str | None, *, own: bool = False
) -> list[str]:
    """As `install`, whoever sees to PATH. `own`: with `safedocker` beside them."""
    shims = shims.absolute()
    programs = (*PROGRAMS, OWN) if own else PROGRAMS
    for program in programs:
        place = shims / program
        if os.path.lexists(place) and not process.is_shim(str(place)):
            raise SafedockerError(
                f"{place} is there and is not a safedocker shim: nothing was written",
                "choose a folder of its own for the shims",
            )
    targets = {
        program: find_real(program, given)
        for program, given in zip(PROGRAMS, (real, real_compose), strict=True)
    }
    shims.mkdir(parents=True, exist_ok=True)
    lines = []
    for program, found in targets.items():
        _write(shims / program, filled(program, real=found))
        lines.append(f"{shims / program} stands before {found or f'{program}, not found yet'}")
    if own:
        _write(shims / OWN, filled(OWN))
    return lines


def uninstall(shims: pathlib.Path, *, keep_folder: bool = False) -> list[str]:
    """Remove our shims from a folder, and the folder when that leaves it empty."""
    lines = []
    for program in (*PROGRAMS, OWN):
        place = shims / program
        if process.is_shim(str(place)):
            place.unlink()
            lines.append(f"removed {place}")
        elif place.exists():
            lines.append(f"left {place}: not a safedocker shim")
    if not any(line.startswith("removed") for line in lines):
        raise SafedockerError(f"no safedocker shim in {shims}", "; ".join(lines))
    if not keep_folder and shims.is_dir() and not any(shims.iterdir()):
        shims.rmdir()
    return lines


def find_real(program: str, given: str | None) -> str:
    """Given what `--real` says, or None, return the absolute path of the real binary, "" when the
    machine has none."""
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


def filled(program: str, *, real: str = "", shims: pathlib.Path | None = None) -> bytes:
    """The template of that name with this machine's paths between its markers.

    `real` is for a shim, `shims` for what a shell sources.
    """
    if shims is not None:
        quote = quoted_for_fish if program.endswith(".fish") else shlex.quote
        assign = "set -g safedocker_shims " if program.endswith(".fish") else "safedocker_shims="
        lines = f"{assign}{quote(str(shims))}\n"
    else:
        settings = {"sd_real": real} if program in PROGRAMS else {}
        settings |= {"sd_python": sys.executable, "sd_root": str(package_root())}
        lines = "".join(f"{key}={shlex.quote(value)}\n" for key, value in settings.items())
    head, _own, tail = parted(template(program))
    return head + os.fsencode(lines) + tail


def parted(text: bytes) -> tuple[bytes, bytes, bytes]:
    """A template's or a shim's text before, between and behind the markers' lines. Raise ValueError
    where there are none."""
    head, begin, rest = text.partition(process.SHIM_MARK + b"\n")
    own, end, tail = rest.partition(_END)
    if not begin or not end:
        raise ValueError("it has no lines that install wrote")
    return head + begin, own, end + tail


def package_root() -> pathlib.Path:
    """The folder that this package stands in."""
    return pathlib.Path(safedocker.__file__).resolve().parent.parent


def template(program: str) -> bytes:
    """The shim's text: in the wheel beside the package, in a checkout in shell/."""
    packed = resources.files("safedocker") / "shell" / program
    if packed.is_file():
        return packed.read_bytes()
    return (package_root() / "shell" / program).read_bytes()


def quoted_for_fish(text: str) -> str:
    """One word for fish, which has two escapes between single quotes."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


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
