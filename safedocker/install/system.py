"""Installs for a machine: shims that every user and sudo find before the real docker. What they
start must be root's alone to change, and everybody's to run."""

from __future__ import annotations

import json
import os
import pwd
import stat
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path

from safedocker import install
from safedocker.errors import Refused, SafedockerError

BIN = Path("/usr/local/bin")  # on every login's PATH and in sudo's secure_path before /usr/bin
_FIRST_PERSON = 1000  # uid; below it are root and the system's own users
_NOBODY = 65534
_SHOWN = 5  # of what is wrong
RECIPE = (
    "as root give safedocker a Python environment of its own, from a copy of its source: "
    "umask 022; /usr/bin/python3 -m venv /opt/safedocker && /opt/safedocker/bin/pip install . && "
    "/opt/safedocker/bin/safedocker install --system"
)


def check(folder: Path, reals: Sequence[str]) -> None:
    """Raise Refused for another user than root, and where root's shims in `folder` would start what
    somebody else may change, or what not everybody may read. `reals` are the real programs."""
    if os.geteuid() != 0:
        raise Refused(
            "only root installs for the machine. Nothing was written",
            "with sudo: sudo safedocker install --system; for yourself: safedocker install",
        )
    if not folder.is_dir():
        raise SafedockerError(f"{folder} is no folder; nothing was written", f"mkdir -p {folder}")
    wrong = list(_faults([folder, *(Path(real) for real in reals if real)], _program()))
    if wrong:
        more = f", and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise Refused(
            "the machine's shims would start what others than root may change, or what not "
            f"everybody may read: {'; '.join(wrong[:_SHOWN])}{more}. Nothing was written",
            RECIPE,
        )


def write(folder: Path, real: str | None, real_compose: str | None) -> list[str]:
    """Write the shims and `safedocker` into `folder`; return lines that say so. Raise Refused."""
    given = (real, real_compose)
    found = [
        install.find_real(program, one)
        for program, one in zip(install.PROGRAMS, given, strict=True)
    ]
    check(folder, found)
    for program in install.PROGRAMS:
        place = folder / program
        if os.path.realpath(place) in map(os.path.realpath, filter(None, found)):
            raise _in_our_place(program, place)
    lines = install.write(folder, real, real_compose, own=True)
    return [*lines, f"{folder / install.OWN} is safedocker, for everybody"]


def _in_our_place(program: str, place: Path) -> SafedockerError:
    """The real one stands where the shim belongs. A link is not moved: it may be read from its own
    folder alone. Nor is it followed to its end, which may go by the name it is called by."""
    again = f"safedocker install --system --real{program.removeprefix('docker')}"
    if place.is_symlink():
        target = os.path.normpath(place.parent / place.readlink())
        return SafedockerError(
            f"the real {program} itself stands at {place}, a link to {target}: nothing was written",
            f"have the shim in the link's place: rm {place} && {again} {target}",
        )
    return SafedockerError(
        f"the real {program} itself stands at {place}: nothing was written",
        "move it to where no PATH leads, and tell where: mkdir -p /usr/local/libexec && "
        f"mv {place} /usr/local/libexec/ && {again} /usr/local/libexec/{program}",
    )


def remove(folder: Path) -> list[str]:
    """Take them away again; return lines that say so. Raise Refused for another user than root."""
    if os.geteuid() != 0:
        raise Refused(
            "only root uninstalls from the machine. Nothing was removed",
            "with sudo: sudo safedocker uninstall --system",
        )
    lines = install.uninstall(folder, keep_folder=True)
    return [*lines, f"the program itself is left: {sys.prefix}"]


def _program() -> list[Path]:
    """All that is read when a shim starts: the interpreter, and every folder that it imports from,
    asked of the interpreter as the shims start it."""
    text = "import json, site, sys; site.main(); print(json.dumps(sys.path))"
    done = subprocess.run(
        [sys.executable, "-IS", "-c", text], capture_output=True, check=True, timeout=60
    )
    paths = [Path(one) for one in json.loads(done.stdout) if one]
    library = sysconfig.get_config_var("LIBDIR")
    shared = sysconfig.get_config_var("INSTSONAME")
    if library and shared and os.path.exists(os.path.join(library, shared)):
        paths.append(Path(library, shared))
    return [
        Path(sys.executable),
        Path(sys.prefix, "pyvenv.cfg"),
        install.package_root() / "safedocker",
        *paths,
    ]


def _faults(places: Sequence[Path], trees: Sequence[Path]) -> Iterator[str]:
    """What is wrong with these places, and with all that is in these trees, a phrase each."""
    seen: set[Path] = set()
    homes = _homes()
    for path in (*places, *trees):
        for one in _way_to(path):
            if one not in seen:
                seen.add(one)
                yield from _fault_of(one, homes)
    for tree in trees:
        for folder, folders, files in os.walk(tree):
            for name in (*folders, *files):
                inner = Path(folder, name)
                for one in _way_to(inner) if inner.is_symlink() else (inner,):
                    if one not in seen:
                        seen.add(one)
                        yield from _fault_of(one, homes)


def _way_to(path: Path) -> Iterator[Path]:
    """A path and everything that it passes through, links as themselves."""
    waiting, seen = [Path(os.path.abspath(path))], set[Path]()
    while waiting:
        at = waiting.pop()
        for one in (at, *at.parents):
            if one in seen:
                break
            seen.add(one)
            yield one
            if one.is_symlink():
                target = Path(os.path.realpath(one.parent), one.readlink())
                target = Path(os.path.normpath(target))
                rest = at.relative_to(one)
                waiting.append(target / rest)


def _fault_of(path: Path, homes: frozenset[Path]) -> Iterator[str]:
    if path in homes:
        yield f"{path} is somebody's home"
        return
    try:
        status = path.lstat()
    except FileNotFoundError:
        return  # who could make it there is told by its folder
    mode = status.st_mode
    if status.st_uid != 0:
        yield f"{path} belongs to the user {status.st_uid}"
    elif stat.S_ISLNK(mode):
        return
    elif mode & (stat.S_IWGRP | stat.S_IWOTH) and not (stat.S_ISDIR(mode) and mode & stat.S_ISVTX):
        yield f"{path} can be written by others than root ({stat.filemode(mode)})"
    if not mode & (stat.S_IXOTH if stat.S_ISDIR(mode) else stat.S_IROTH):
        yield f"{path} can't be read by everybody ({stat.filemode(mode)})"


def _homes() -> frozenset[Path]:
    """The homes of root and of people, by the user database."""
    return frozenset(
        Path(one.pw_dir)
        for one in pwd.getpwall()
        if (one.pw_uid == 0 or _FIRST_PERSON <= one.pw_uid != _NOBODY)
        and one.pw_dir not in {"", "/", "/nonexistent"}
    )
