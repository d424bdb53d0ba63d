"""The shims that stand on this machine: whether what they were written with is still there."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

from safedocker import install
from safedocker.doctor.report import Finding, Report
from safedocker.doctor.shells import INSTALL, INSTALL_SYSTEM, folders
from safedocker.edge import process
from safedocker.install import person
from safedocker.install.system import BIN


def examine(report: Report) -> None:
    """Look at every shim on PATH, the person's and the machine's."""
    for folder in folders():
        for program in (*install.PROGRAMS, install.OWN):
            place = folder / program
            if process.is_shim(str(place)):
                for what in faults(place, program):
                    report.findings.append(Finding("shim", str(place), what, _repair(folder)))


def faults(place: Path, program: str) -> Iterator[str]:
    """What is wrong with one shim, a sentence each."""
    try:
        head, own, tail = install.parted(place.read_bytes())
        settings = dict(
            word.partition("=")[::2] for word in shlex.split(os.fsdecode(own), comments=True)
        )
        status = place.stat()
    except (OSError, ValueError) as fault:
        yield f"it can't be read: {fault}"
        return
    python, root, real = (settings.get(key, "") for key in ("sd_python", "sd_root", "sd_real"))
    if not os.access(python, os.X_OK):
        yield f"its Python is gone ({python or 'none'}): what could lose data is refused"
    elif not os.path.exists(os.path.join(root, "safedocker", "shim.py")):
        yield f"safedocker is gone from {root or 'its folder'}: what could lose data is refused"
    made_head, _, made_tail = install.parted(install.template(program))
    if (head, tail) != (made_head, made_tail):
        yield "another version of safedocker wrote it"
    if real and not os.access(real, os.X_OK):
        yield f"the real {program} that it was written for is gone: {real}"
    elif real and process.is_shim(real):
        yield f"what it takes for the real {program} is a shim: {real}"
    if not real and program in install.PROGRAMS and (found := install.find_real(program, None)):
        yield f"it was written before there was a {program}; now there is {found}"
    if not os.access(place, os.X_OK):
        yield "it can't be run"
    if place.parent == BIN and (
        status.st_uid != 0 or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    ):
        yield "others than root can write it"


def _repair(folder: Path) -> str:
    if folder == BIN:
        return INSTALL_SYSTEM
    if folder == person.places().shims:
        return INSTALL
    return f"safedocker install --shims {shlex.quote(str(folder))}"
