"""What is written down of each decision before anything happens: a line in the person's own audit,
one in the machine's log where root has set that up, and one to the system's log."""

from __future__ import annotations

import datetime
import os
import pathlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from safedocker.edge import audit, journal, ledger, people, process, wording, wording_log
from safedocker.errors import Refused
from safedocker.policy.options import Journal

if TYPE_CHECKING:
    from safedocker.command.parse import Command
    from safedocker.loss.facts import EngineIdentity, Volume
    from safedocker.policy.options import Caller

# Of these the values may be secrets, or mean nothing to anybody else.
_UNTOLD = frozenset(
    ("env", "build-arg", "label", "annotation", "opt", "log-opt", "storage-opt", "health-cmd")
)
_RUNS = frozenset((("container", "run"), ("container", "create"), ("compose", "run")))


def own_file() -> pathlib.Path:
    """The person's own audit."""
    return pathlib.Path(process.state_folder(), "audit.jsonl")


@dataclass(frozen=True)
class About:
    """A volume that one of our own commands removes, and its engine."""

    engine: EngineIdentity
    volume: Volume


def note(
    ids: tuple[str, ...],
    form: str,
    who: Caller,
    outcome: str,
    words: list[str],
    wanted: Journal,
    about: About | None = None,
) -> None:
    """Write the line of what one of our own commands does to backups, or to a volume. Raise
    Refused."""
    names = [about.volume.name] if about else []
    line = {
        **typed(tuple(words), who),
        "command": " ".join([f"safedocker {form}", *ids, *names]),
        "form": f"safedocker-{form}",
        "outcome": outcome,
        "backups": list(ids),
    }
    if about is not None:
        line |= {
            "engine": about.engine.host,
            "engine_id": about.engine.id,
            "engine_name": about.engine.name,
            "losses": [{"kind": "named volume", "name": name, "size": None} for name in names],
        }
    write(line, wanted)


def write(line: dict[str, Any], wanted: Journal) -> None:
    """Write a line wherever it belongs. Raise Refused when it can't be written where it has to be:
    in the person's own audit, and by policy in the machine's."""
    audit.write(own_file(), line)
    stands = ledger.stands()
    if wanted is Journal.OFF or not (stands or wanted is Journal.REQUIRED):
        return
    shared = _shared(line)
    faults = [_to_ledger(shared)] if stands else []
    faults.append(journal.send(wording_log.sentence(shared, people.name), shared))
    told = "; ".join(filter(None, faults))
    if told and wanted is Journal.REQUIRED:
        raise Refused(
            f"the machine's log could not be written ({told}): nothing was removed",
            "the policy wants it written: have whoever keeps this machine look at it",
        )


def _to_ledger(line: Mapping[str, Any]) -> str:
    """Return "" or what went wrong."""
    try:
        ledger.append(audit.text_of(line))
    except OSError as fault:
        return f"{ledger.FOLDER}: {fault.strerror or fault}"
    return ""


def typed(words: tuple[str, ...], who: Caller) -> dict[str, Any]:
    """What each line has: who typed what, where, when."""
    return {
        "at": now(),
        "argv": list(words),
        "directory": process.working_directory(),
        "caller": who.kind.value,
        "caller_mark": who.mark,
        "parent": who.parent,
        "user": os.getuid(),
        "person": ledger.person(),
        "pid": os.getpid(),
    }


def now() -> str:
    """This moment, as a line tells it."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


def _shared(line: dict[str, Any]) -> dict[str, Any]:
    """The line for others to read: without the words as they were typed, which may hold secrets."""
    parent = str(line["parent"]).split(" ")
    script = [word for word in parent[1:2] if not word.startswith("-")]
    told = {**line, "parent": " ".join([*parent[:1], *script])}
    del told["argv"]
    return told


def told_to_all(command: Command) -> str:
    """A command as others may read it: without the values of environment variables and the like,
    and without what runs in a container."""
    path = command.path
    words = [command.program]
    words += [_option(name, value) for name, value in command.globals]
    if path[:1] == ("compose",):
        words += ["compose"] if command.program == "docker" else []
        words += [_option(name, value) for name, value in command.project]
        path = path[1:]
    words += [*path, *(_option(name, value) for name, value in command.flags)]
    runs = command.path in _RUNS and len(command.operands) > 1
    words += [command.operands[0], "…"] if runs else list(command.operands)
    return wording.clean(" ".join(words))


def _option(name: str, value: str) -> str:
    if value == "true":
        return f"--{name}"
    return f"--{name}={'…' if name in _UNTOLD else value}"
