"""The commands of every day that mount what is here: told at little cost, before anything else of
the walk is imported; and who makes what, for the machine's log. Hot."""

from __future__ import annotations

import os

from safedocker.command.parse import Command
from safedocker.edge import process
from safedocker.loss import mounts

_QUICK = frozenset(("container", verb) for verb in ("run", "start", "restart", "cp"))


def makes_nothing(command: Command) -> bool:
    """Is it certain, at little cost, that a command makes no host path and takes nothing else: on
    an engine of this machine, where all that is mounted is here? Most commands of every day are so.
    """
    if command.program != "docker" or command.doubts or command.path not in _QUICK:
        return False
    where = process.local_socket(command.globals)
    if not where:
        return False
    if command.path == ("container", "run"):
        told = mounts.read(command, None, process.logical_directory())
        return not told.donors and all(process.stands(bind.source) for bind in told.makes)
    containers = command.operands
    if command.path == ("container", "cp"):
        if os.isatty(2) or process.has_policy():
            return False  # what is written over would make a difference
        ends = (end.partition(":") for end in containers if end[:1] not in {"/", "."})
        containers = tuple(container for container, colon, _path in ends if colon)
    from safedocker.edge import probe

    return all(probe.mounts_what_is_here(where, container) for container in containers)


_MAKES = frozenset((("container", "run"), ("container", "create"), ("volume", "create")))
_MACHINE_LOG = "/var/log/safedocker"  # ledger.py's, told here as most machines have none


def note_making(command: Command) -> None:
    """Note in the machine's log, where there is one, who makes which volumes and containers: asked
    later, an engine does not know."""
    if command.path not in _MAKES or command.helps or command.error:
        return
    if not process.stands(_MACHINE_LOG):
        return
    from safedocker.edge import ledger

    where = process.local_socket(command.globals)
    if where and ledger.stands():
        ledger.mark(where, _volumes(command), (command.value("name") or "",))


def _volumes(command: Command) -> list[str]:
    if command.path[0] == "volume":
        return [*command.operands[:1], command.value("name") or ""]
    found = [spec.partition(":")[0] for spec in command.values("volume") if ":" in spec]
    for spec in command.values("mount"):
        keys = dict(part.partition("=")[::2] for part in spec.split(","))
        if keys.get("type", "volume") == "volume":
            found.append(keys.get("source") or keys.get("src") or "")
    return [name for name in found if name[:1] not in {"/", ".", "~"}]
