"""The store, the audit, and what killed runs left: in the store, and on the engine."""

from __future__ import annotations

import contextlib
import os
import shlex
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from safedocker import inforce
from safedocker.backup.store import FolderStore, left
from safedocker.doctor.report import Finding, Report, StoreSeen
from safedocker.edge import process, stamp
from safedocker.errors import BadPolicy, Refused, SafedockerError
from safedocker.loss.facts import Bytes
from safedocker.policy.options import STORE

if TYPE_CHECKING:
    from safedocker.edge.engine import Engine

SHORT = Bytes(1_000_000_000)  # of free room; a copy may need 256 MB, and the database goes on
REPAIR = "safedocker doctor --repair"


def open_store() -> FolderStore:
    """The store of this user, where the policy in force keeps it. Raise Refused where that can't
    be used."""
    store = ""
    with contextlib.suppress(BadPolicy):  # told by itself
        policy, _who = inforce.in_force(can_ask=False)
        store = policy[STORE]
    return FolderStore(Path(process.backups_folder(store)))


def find_store(report: Report) -> FolderStore | None:
    """The same; None, and a finding, where it can't be used."""
    try:
        return open_store()
    except Refused as fault:
        report.findings.append(Finding("store", "policy", fault.message, fault.hint))
        return None


def examine(report: Report, store: FolderStore, engine: Engine | None) -> None:
    """Look at all of it. Nothing is changed."""
    audit = Path(process.state_folder(), "audit.jsonl")
    root = Path(store.where)
    _usable(report, "store", root, "no backup can be taken, and what needs one is refused")
    _usable(report, "audit", audit, "no line can be written, and what could lose data is refused")
    backups = 0
    try:
        listing = store.list()
    except SafedockerError as fault:
        report.findings.append(Finding("store", store.where, fault.message, fault.hint))
    else:
        backups = len(listing.backups)
        for one in listing.damaged:
            report.findings.append(
                Finding("store", one.id, one.error.message, f"safedocker delete {one.id}")
            )
    free, disk = store.free_bytes() or 0, _mount_point(root)
    report.store = StoreSeen(store.where, backups, str(disk), free, str(audit), _lines(audit))
    if free < SHORT:
        what = f"only {Bytes(free)} are free on {disk}: there may be no room for a backup"
        report.findings.append(Finding("store", store.where, what, "safedocker expire --free 10GB"))
    if root.is_dir() and stat.S_IMODE(root.stat().st_mode) & 0o077:
        what, to_do = "others can read your backups", f"chmod 700 {shlex.quote(store.where)}"
        report.findings.append(Finding("store", store.where, what, to_do))
    _left_in_store(report, root)
    for file in sorted(audit.parent.glob("bug-*.txt")):
        report.notes.append(
            Finding("bug", str(file), "safedocker met a bug of its own", f"read it, then rm {file}")
        )
    if engine is not None:
        _left_on_engine(report, engine, store)
        _same_disk(report, root, engine)


def _usable(report: Report, kind: str, place: Path, why: str) -> None:
    """A finding where this user can't write there."""
    at = place
    while not at.exists():
        at = at.parent
    if not os.access(at, os.W_OK | (os.X_OK if at.is_dir() else 0)):
        to_do = f"make {at} writable for yourself, or set XDG_DATA_HOME and XDG_STATE_HOME"
        report.findings.append(Finding(kind, str(place), f"{at} can't be written: {why}", to_do))


def _left_in_store(report: Report, root: Path) -> None:
    """Backups whose process ended before they were whole, or before what it moved or stopped was
    put right."""

    def lives(mark: str) -> bool:
        return bool(mark) and stamp.lives(mark) is not False

    for claim in sorted(root.glob("*/claim")) if root.is_dir() else ():
        with contextlib.suppress(OSError):  # it has just gone
            found = left(claim.parent, lives)
            if found is None:
                continue
            when = f"begun {found.at} by process {found.pid}" if found.at else "just begun"
            if not found.whole:
                what = f"a backup that was not finished ({when})"
            elif found.moving or found.stopped:
                what = f"a command ended before what it moved or stopped was put right ({when})"
            else:
                continue
            report.findings.append(Finding("leftover", found.id, what, REPAIR))


def _left_on_engine(report: Report, engine: Engine, store: FolderStore) -> None:
    """Helpers of processes that are gone; and what stands aside, and no backup knows of it."""
    try:
        for told in engine.left_behind():
            what = "a helper of safedocker's whose process is gone"
            report.findings.append(Finding("leftover", told, what, REPAIR))
        if engine.identity.remote:
            return
        aside = Path(engine.data_directory, "safedocker")
        known = {one.id for one in store.list().backups}
        strange = [one for one in os.listdir(aside) if one not in known] if aside.is_dir() else []
    except (OSError, SafedockerError):
        return  # only root may look there
    if strange:
        what = f"{len(strange)} moved aside by somebody else, or for backups that are gone: {aside}"
        report.notes.append(Finding("leftover", "engine", what, "see them: safedocker aside"))


def _same_disk(report: Report, root: Path, engine: Engine) -> None:
    with contextlib.suppress(OSError):
        if not engine.identity.remote and (
            os.stat(engine.data_directory).st_dev == os.stat(_existing(root)).st_dev
        ):
            what = "backups lie on the disk that the engine's data lie on: one disk dies, both go"
            to_do = "copy them elsewhere as well, or set XDG_DATA_HOME to another disk"
            report.notes.append(Finding("store", str(root), what, to_do))


def _existing(place: Path) -> Path:
    while not place.exists():
        place = place.parent
    return place


def _mount_point(place: Path) -> Path:
    at = _existing(place).resolve()
    while not os.path.ismount(at):
        at = at.parent
    return at


def _lines(file: Path) -> int:
    try:
        return file.read_bytes().count(b"\n")
    except OSError:
        return 0
