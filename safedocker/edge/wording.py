"""A plan in words: what the preview says, in which order; how names, sizes and times are written.

Nothing is printed here.
"""

from __future__ import annotations

import datetime
import os
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from safedocker.edge import wording_people
from safedocker.loss.facts import Bytes, Holds
from safedocker.loss.plan import Kind
from safedocker.policy.options import Answer

if TYPE_CHECKING:
    from safedocker.command.parse import Command
    from safedocker.loss.plan import Loss, Plan
    from safedocker.policy.decide import Verdict
    from safedocker.policy.options import Caller

STAYS_SHOWN = 8
USERS_SHOWN = 4
_CALLER_SHOWN = 300  # characters
_DIGEST = re.compile("[0-9a-f]{64}")
# A shell that a person types into: no script and no -c.
_BARE_SHELL = re.compile(
    r"(\S*/)?-?((a|ba|c|da|fi|k|mk|ok|pdk|tc|ya|z|xon|)sh|rbash|nu|elvish|pwsh)( --?(?!c\b)[\w-]+)*"
)
# Programs that run one command and are gone with it.
_RUNS_ONE = frozenset(("sudo", "doas", "su", "timeout", "time", "nice", "script", "strace", "ssh"))
_BATCH_SHOWN = 60  # characters


class Cells(NamedTuple):
    """A loss in columns."""

    name: str
    size: str
    content: str
    written: str
    kind: str


# What is told in a line of its own below the list: it stays, or can be had again.
ASIDE = (Kind.DETACHED_VOLUME, Kind.SERVICE, Kind.IMAGE, Kind.BUILD_CACHE)
_PLURALS = {
    Kind.SECRET: "secrets",
    Kind.SWARM: "swarms",
    Kind.LAYER: "container layers",
    Kind.FILE: "files",
    Kind.PLUGIN: "plugins",
    Kind.CONFIG: "configs",
    Kind.CONTEXT: "contexts",
    Kind.IMAGE: "images",
    Kind.SERVICE: "services",
}


def titles(losses: Sequence[Loss]) -> Cells:
    """The heads of the columns."""
    only_volumes = all(loss.kind.is_volume for loss in losses)
    return Cells("VOLUME" if only_volumes else "WHAT", "SIZE", "CONTENT", "LAST WRITE", "KIND")


def listed(plan: Plan) -> tuple[Loss, ...]:
    """The losses that have a row of their own."""
    return tuple(loss for loss in plan.losses if loss.kind not in ASIDE)


def head(plan: Plan, caller: Caller | None) -> list[tuple[str, str]]:
    """What stands above the list, each with its label."""
    lines = []
    engine = plan.engine
    if engine is not None and (engine.remote or engine.source != "default"):
        name = f"{engine.name} at {engine.host}" if engine.name else engine.host
        where = ", NOT ON THIS MACHINE" if engine.remote else ""
        lines.append(("engine:", clean(f"{name} ({engine.source}){where}")))
    if caller is not None and caller.parent and not is_bare_shell(caller.parent):
        lines.append(("called by:", clean(caller.parent[:_CALLER_SHOWN])))
    if plan.form.name != "volume-rm":
        lines.append(("it", plan.form.sentence))
    return lines


def is_bare_shell(command: str) -> bool:
    """Is a process's command line that of a shell that a person types into?"""
    return _BARE_SHELL.fullmatch(command) is not None


def starts_many(command: str) -> bool:
    """Could a process with this command line start several commands: xargs, make, a script?"""
    program = command.partition(" ")[0].rpartition("/")[2]
    return bool(command) and not is_bare_shell(command) and program not in _RUNS_ONE


def batch(parent: str) -> str:
    """Name what a parent process starts, in a choice or a note."""
    shown = parent if len(parent) <= _BATCH_SHOWN else f"{parent[: _BATCH_SHOWN - 1]}…"
    return f"all that `{clean(shown)}` removes"


def batches(caller: Caller | None, answers: Sequence[Answer]) -> dict[Answer, str]:
    """The choices that hold for all that the caller's parent starts, in words."""
    if caller is None:
        return {}
    told = {
        Answer.BACK_UP: "Back up, then go on",
        Answer.WITHOUT: "Go on without a backup",
        Answer.CANCEL: "Cancel",
    }
    return {one: f"{told[one]}, and the same for {batch(caller.parent)}" for one in answers}


def headline(plan: Plan) -> str:
    """The one line that must be read."""
    made = [loss for loss in plan.losses if loss.kind is Kind.BIND_SOURCE]
    written = [loss for loss in plan.losses if loss.kind is Kind.FILE]
    apart = {Kind.BIND_SOURCE, Kind.FILE, Kind.DETACHED_VOLUME}
    gone = [loss for loss in plan.losses if loss.kind not in apart]
    of = f" of project {clean(plan.project)}" if plan.project else ""
    told = []
    if gone:
        told.append(f"delete {summary(gone, of)}")
    if written:
        told.append(f"overwrite {summary(written)}")
    if made and not any(loss.certain for loss in made):
        told.append(f"make {count(len(made), 'host path')}{of} if not there on the engine's host")
    elif made:
        told.append(f"make {count(len(made), 'host path')}{of} that should be there")
    if told:
        return f"Would {', and '.join(told)}"
    return "What would be deleted is not known" if plan.gaps else "Nothing would be deleted"


def summary(losses: Sequence[Loss], of: str = "") -> str:
    """ "2 volumes, 1.2 GB and 1 container layer"; unknown sizes make it "more than 1.2 GB"."""
    groups = []
    volumes = [loss for loss in losses if loss.kind.is_volume]
    if volumes:
        groups.append((count(len(volumes), "volume"), _weight(volumes)))
    for kind, plural in _PLURALS.items():
        found = [loss for loss in losses if loss.kind is kind]
        if found:
            weighed = kind in _WEIGHED and all(loss.size is not None for loss in found)
            groups.append(
                (count(len(found), kind.value, plural), _weight(found) if weighed else "")
            )
    if any(loss.kind is Kind.BUILD_CACHE for loss in losses):
        groups.append(("build cache", ""))
    if len(groups) == 1:
        counted, weight = groups[0]
        unknown = weight.startswith("of ")
        return f"{counted}{of}{' ' if unknown else ', '}{weight}" if weight else f"{counted}{of}"
    told = [f"{counted} ({weight})" if weight else counted for counted, weight in groups]
    return f"{', '.join(told[:-1])} and {told[-1]}{of}" if told else ""


_WEIGHED = {Kind.LAYER, Kind.FILE, Kind.IMAGE}


def _weight(losses: Sequence[Loss]) -> str:
    weighed = [loss for loss in losses if loss.holds not in {Holds.EMPTY, Holds.ELSEWHERE}]
    if not weighed:
        nothing = all(loss.holds is Holds.EMPTY for loss in losses)
        return "empty" if nothing else "and no data"
    least = sum(loss.at_least if loss.size is None else loss.size for loss in weighed)
    if all(loss.size is not None for loss in weighed):
        return str(Bytes(least))
    return f"more than {Bytes(least)}" if least else "of unknown size"


def by_project(plan: Plan) -> dict[str | None, list[Loss]]:
    """Losses by project, those without one last; within one, what weighs most first.

    Compose writes no project on an anonymous volume, so what a project's command takes is its.
    """
    groups: dict[str | None, list[Loss]] = {}
    for loss in sorted(
        listed(plan),
        key=lambda loss: (
            not (loss.project or plan.project),
            loss.project or plan.project or "",
            not loss.kind.is_volume,
            loss.holds in {Holds.EMPTY, Holds.ELSEWHERE},
            loss.size is not None,
            -loss.at_least if loss.size is None else -loss.size,
        ),
    ):
        groups.setdefault(loss.project or plan.project, []).append(loss)
    return groups


def cells(loss: Loss, now: datetime.datetime) -> Cells:
    """A loss in the columns of `titles`. `now` is UTC."""
    name = short(loss.name)
    kind = _kind(loss)
    if loss.kind is Kind.BIND_SOURCE and not loss.certain:
        return Cells(name, "-", "can't be known from here", "-", kind)
    if loss.kind in _PLAIN:
        return Cells(name, "-", _PLAIN[loss.kind], "-", kind)
    if loss.holds is Holds.EMPTY and loss.in_memory:
        return Cells(name, "0 B", f"{loss.in_memory}, in memory", "-", kind)
    if loss.holds is Holds.EMPTY:
        return Cells(name, "0 B", "empty", "-", kind)
    if loss.holds is Holds.ELSEWHERE:
        elsewhere = loss.volume.elsewhere if loss.volume else None
        where = clean(elsewhere or "another place")
        return Cells(name, "-", "a reference", "-", f"{kind}; the data at {where} stays")
    if loss.size is not None:
        known = str(Bytes(loss.size))
    else:
        known = f"more than {Bytes(loss.at_least)}" if loss.at_least else "unknown"
    content = clean(loss.content) or ("data" if loss.holds is Holds.DATA else "unknown")
    if loss.kind.is_volume:
        written = ago(loss.last_write, now) if loss.last_write else "unknown"
    else:
        written = "-"
    return Cells(name, known, content, written, kind)


# What has neither size nor contents that could be looked at.
_PLAIN = {
    Kind.SECRET: "can't be read back",
    Kind.SWARM: "can't be read back",
    Kind.BIND_SOURCE: "not there",
    Kind.PLUGIN: "can be installed again",
    Kind.CONFIG: "its definition is kept",
    Kind.CONTEXT: "its definition is kept",
}


_KINDS = {Kind.LAYER: "container: its own files, outside volumes"}


def _kind(loss: Loss) -> str:
    """ "named, used by web, db"; of an anonymous volume whose place is known, just that."""
    if not loss.kind.is_volume:
        return _KINDS.get(loss.kind, "") or clean(f"{loss.kind.value}, {loss.why}")
    anonymous = loss.kind is Kind.ANONYMOUS_VOLUME
    if anonymous and len(loss.used_by) == 1 and loss.why.startswith("anonymous volume of"):
        return clean(loss.why)
    kind = "anonymous" if anonymous else "named"
    if not loss.used_by:
        return f"{kind}, unused"
    users = ", ".join(clean(user) for user in loss.used_by[:USERS_SHOWN])
    more = len(loss.used_by) - USERS_SHOWN
    return f"{kind}, used by {users}" + (f" and {more} more" if more > 0 else "")


def sentence(row: Cells) -> str:
    """The same without columns, and without the name."""
    if (row.content, row.size) == ("unknown", "unknown"):
        said = "content and size unknown"
    elif row.size in {"-", "0 B"}:
        said = row.content
    else:
        said = f"{row.content}, {row.size}"
    said += f", last write {row.written}" if row.written not in {"-", "unknown"} else ""
    return f"{said}; {row.kind}"


def tail(plan: Plan) -> list[tuple[str, str]]:
    """What stands below the list, each with its label."""
    lines = [("not yours:", clean(one)) for one in wording_people.not_yours(plan.losses, short)]
    lines += [
        ("stays:", f"{short(one.name)} ({clean(one.why)})") for one in plan.stays[:STAYS_SHOWN]
    ]
    if len(plan.stays) > STAYS_SHOWN:
        lines.append(("stays:", f"and {len(plan.stays) - STAYS_SHOWN} more"))
    for kind in ASIDE:
        found = [loss for loss in plan.losses if loss.kind is kind]
        if found:
            lines.append(("also:", _aside(kind, found)))
    lines += [("but:", told) for loss in plan.losses if (told := misplaced(loss))]
    lines += [("not known:", clean(gap)) for gap in plan.gaps]
    lines += [("in doubt:", clean(dispute)) for dispute in plan.disputes]
    if plan.safer:
        told = f"`{clean(plan.safer)}` keeps the volumes"
        if restart := restarting(plan.command):
            told += f", `{clean(restart)}` the containers too"
        lines.append(("safer:", told))
    return lines


def misplaced(loss: Loss) -> str:
    """What to say of a database that keeps its data in an anonymous volume, while the named one
    that it was given holds none; "" of anything else."""
    if not (loss.holds is Holds.DATA and loss.database and loss.beside):
        return ""
    named = ", ".join(short(one.name) for one in loss.beside)
    hold = "holds" if len(loss.beside) == 1 else "hold"
    return (
        f"the data ({clean(loss.content)}) is in the anonymous volume {short(loss.name)} at "
        f"{clean(loss.target)}; the named {named} {hold} no data"
    )


def restarting(command: Command) -> str:
    """The command that only restarts what a `compose down` takes away; "" for another."""
    if command.path != ("compose", "down"):
        return ""
    return shlex.join((command.program, *command.prefix, "restart", *command.operands))


def _aside(kind: Kind, found: Sequence[Loss]) -> str:
    if kind is Kind.BUILD_CACHE:
        return "build cache that no build uses"
    if kind is Kind.DETACHED_VOLUME:
        told = [f"{short(loss.name)} ({clean(loss.why)})" for loss in found[:STAYS_SHOWN]]
        head = "left behind, without a container: "
    else:
        told = [clean(loss.name) for loss in found[:STAYS_SHOWN]]
        head = f"{summary(found)}: "
    more = len(found) - STAYS_SHOWN
    return head + ", ".join(told) + (f" and {more} more" if more > 0 else "")


def as_json(plan: Plan) -> dict[str, object]:
    """A plan for programs. Sizes are bytes, times ISO 8601 in UTC; None is unknown."""
    engine = plan.engine
    return {
        "engine": engine
        and {
            "host": engine.host,
            "source": engine.source,
            "name": engine.name,
            "id": engine.id,
            "version": engine.version,
            "remote": engine.remote,
        },
        "project": plan.project,
        "losses": losses_as_json(plan),
        "stays": [{"name": one.name, "why": one.why} for one in plan.stays],
        "gaps": list(plan.gaps),
        "disputes": list(plan.disputes),
        "stops": list(plan.stops),
        "safer": plan.safer or None,
    }


def judged_as_json(plan: Plan, verdicts: Sequence[Verdict]) -> dict[str, object]:
    """The plan, each loss with what is done about it for the caller at hand."""
    losses = [
        said
        | {
            "verdict": {
                "stake": verdict.stake.value,
                "action": verdict.action.value,
                "because": verdict.because,
            }
        }
        for said, verdict in zip(losses_as_json(plan), verdicts, strict=True)
    ]
    return as_json(plan) | {"losses": losses}


def losses_as_json(plan: Plan) -> list[dict[str, object]]:
    """The losses alone, in the plan's order."""
    return [
        {
            "kind": loss.kind.value,
            "name": loss.name,
            "id": loss.id or None,
            "why": loss.why,
            "remedy": loss.remedy.value,
            "certain": loss.certain,
            "disposable": loss.disposable,
            "in_memory": loss.in_memory,
            "labels": dict(loss.labels),
            "used_by": list(loss.used_by),
            "project": loss.project,
            "holds": loss.holds.value,
            "size": loss.size,
            "at_least": loss.at_least,
            "content": loss.content,
            "last_write": loss.last_write and loss.last_write.isoformat(),
            "owner": wording_people.as_json(loss.owner),
        }
        for loss in plan.losses
    ]


def offer_to_make(plan: Plan) -> str:
    """The offer to make the host paths as the person, before Docker does it as root."""
    made = [loss for loss in plan.losses if loss.kind is Kind.BIND_SOURCE]
    if len(made) > 1:
        return f"Create the {len(made)} paths now, as me"
    what = "empty file" if made[0].file else "folder"
    return f"Create the {what} now, as me"


def hint(plan: Plan) -> str:
    """One line about anonymous volumes that stay without a container; "" where none holds data."""
    left = [
        loss
        for loss in plan.losses
        if loss.kind is Kind.DETACHED_VOLUME and loss.holds is Holds.DATA
    ]
    if not left:
        return ""
    first = left[0]
    what = f"{clean(first.content)}, " if first.content not in {"", "files"} else ""
    size = Bytes(first.at_least if first.size is None else first.size)
    more = f" and {len(left) - 1} more" if len(left) > 1 else ""
    return (
        f"left without a container: {short(first.name)} ({what}{size}; {clean(first.why)}){more}; "
        f"{f'{told}; ' if (told := misplaced(first)) else ''}"
        "a later prune may remove it; `safedocker rescue` finds it again"
    )


def to_type(challenge: str) -> str:
    """What a person is shown to type for a challenge: nobody types 64 digits."""
    return challenge[:12] if _DIGEST.fullmatch(challenge) else challenge


def clean(told: str, keep: str = "") -> str:
    """Write out what would move the cursor: labels and arguments can hold anything."""
    if told.isprintable():
        return told
    return "".join(one if one.isprintable() or one in keep else ascii(one)[1:-1] for one in told)


def count(number: int, what: str, many: str = "") -> str:
    """ "1 volume", "3 volumes"."""
    return f"{number} {what}" if number == 1 else f"{number} {many or what + 's'}"


def ago(then: datetime.datetime, now: datetime.datetime) -> str:
    """Say when something was: "3 minutes ago"; the day alone when that is over a month ago."""
    seconds = (now - then).total_seconds()
    if seconds < -60 or seconds >= 31 * 86400:
        return f"{then.astimezone(datetime.UTC):%Y-%m-%d}"
    for length, unit in ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        if seconds >= length:
            return f"{count(int(seconds // length), unit)} ago"
    return "just now"


def short(name: str) -> str:
    """A name as it is shown: of the 64 digits that the engine makes up, the first 12."""
    return f"{name[:12]}…" if _DIGEST.fullmatch(name) else clean(name)


def command_line(command: Command) -> str:
    """The command as a person would type it."""
    last = command.path[-1:]
    return clean(shlex.join((command.program, *command.prefix, *last, *command.rest)))


def own_command() -> str:
    """What to type to run safedocker's own commands from here."""
    if shutil.which("safedocker"):
        return "safedocker"
    beside = Path(sys.executable).with_name("safedocker")
    if os.access(beside, os.X_OK):
        return shlex.quote(str(beside))
    root = Path(__file__).resolve().parent.parent.parent
    return shlex.join(("env", f"PYTHONPATH={root}", sys.executable, "-m", "safedocker"))
