"""A plan in words: what the preview says, in which order; how names, sizes and times are written.

Nothing is printed here.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from safedocker.loss.facts import Bytes, Holds
from safedocker.loss.plan import Kind

if TYPE_CHECKING:
    from safedocker.backup.manifest import Backup, Part
    from safedocker.backup.store import Abandoned
    from safedocker.backup.undo import Restored
    from safedocker.command.parse import Command
    from safedocker.loss.plan import Loss, Plan
    from safedocker.policy.options import Caller

STAYS_SHOWN = 8
USERS_SHOWN = 4
_CALLER_SHOWN = 300  # characters
_DIGEST = re.compile("[0-9a-f]{64}")
# A shell that a person types into: no script and no -c.
_BARE_SHELL = re.compile(r"(\S*/)?-?(ba|da|z|k|fi|)sh( --?(?!c\b)[\w-]+)*")


class Cells(NamedTuple):
    """A loss in columns."""

    name: str
    size: str
    content: str
    written: str
    kind: str


TITLES = Cells("VOLUME", "SIZE", "CONTENT", "LAST WRITE", "KIND")


def head(plan: Plan, caller: Caller | None) -> list[tuple[str, str]]:
    """What stands above the list, each with its label."""
    lines = []
    engine = plan.engine
    if engine is not None and (engine.remote or engine.source != "default"):
        name = f"{engine.name} at {engine.host}" if engine.name else engine.host
        where = ", NOT ON THIS MACHINE" if engine.remote else ""
        lines.append(("engine:", clean(f"{name} ({engine.source}){where}")))
    if caller is not None and caller.parent and not _BARE_SHELL.fullmatch(caller.parent):
        lines.append(("called by:", clean(caller.parent[:_CALLER_SHOWN])))
    if plan.form.name != "volume-rm":
        lines.append(("it", plan.form.sentence))
    return lines


def headline(plan: Plan) -> str:
    """The one line that must be read."""
    if not plan.losses:
        return "What would be deleted is not known" if plan.gaps else "Nothing would be deleted"
    of = f" of project {clean(plan.project)}" if plan.project else ""
    return f"Would delete {summary(plan.losses, of)}"


def summary(losses: Sequence[Loss], of: str = "") -> str:
    """ "2 volumes, 1.2 GB"; unknown sizes make it "more than 1.2 GB"."""
    named = count(len(losses), "volume") + of
    weighed = [loss for loss in losses if loss.holds not in {Holds.EMPTY, Holds.ELSEWHERE}]
    if not weighed:
        nothing = all(loss.holds is Holds.EMPTY for loss in losses)
        return f"{named}, {'empty' if nothing else 'and no data'}"
    least = sum(loss.at_least if loss.size is None else loss.size for loss in weighed)
    if all(loss.size is not None for loss in weighed):
        return f"{named}, {Bytes(least)}"
    return f"{named}, more than {Bytes(least)}" if least else f"{named} of unknown size"


def by_project(plan: Plan) -> dict[str | None, list[Loss]]:
    """Losses by project, those without one last; within one, what weighs most first.

    Compose writes no project on an anonymous volume, so what a project's command takes is its.
    """
    groups: dict[str | None, list[Loss]] = {}
    for loss in sorted(
        plan.losses,
        key=lambda loss: (
            not (loss.project or plan.project),
            loss.project or plan.project or "",
            loss.holds in {Holds.EMPTY, Holds.ELSEWHERE},
            loss.size is not None,
            -loss.at_least if loss.size is None else -loss.size,
        ),
    ):
        groups.setdefault(loss.project or plan.project, []).append(loss)
    return groups


def cells(loss: Loss, now: datetime.datetime) -> Cells:
    """A loss in the columns of TITLES. `now` is UTC."""
    name = short(loss.name)
    kind = _kind(loss)
    if loss.holds is Holds.EMPTY:
        return Cells(name, "0 B", "empty", "-", kind)
    if loss.holds is Holds.ELSEWHERE:
        where = clean(loss.volume.elsewhere or "another place")
        return Cells(name, "-", "a reference", "-", f"{kind}; the data at {where} stays")
    if loss.size is not None:
        known = str(Bytes(loss.size))
    else:
        known = f"more than {Bytes(loss.at_least)}" if loss.at_least else "unknown"
    content = clean(loss.content) or ("data" if loss.holds is Holds.DATA else "unknown")
    written = ago(loss.last_write, now) if loss.last_write else "unknown"
    return Cells(name, known, content, written, kind)


def _kind(loss: Loss) -> str:
    """ "named, used by web, db"; of an anonymous volume whose place is known, just that."""
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
    lines = [
        ("stays:", f"{short(one.name)} ({clean(one.why)})") for one in plan.stays[:STAYS_SHOWN]
    ]
    if len(plan.stays) > STAYS_SHOWN:
        lines.append(("stays:", f"and {len(plan.stays) - STAYS_SHOWN} more"))
    lines += [("not known:", clean(gap)) for gap in plan.gaps]
    if plan.safer:
        lines.append(("safer:", f"`{clean(plan.safer)}` keeps the volumes"))
    return lines


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
        "losses": [
            {
                "kind": loss.kind.value,
                "name": loss.name,
                "why": loss.why,
                "used_by": list(loss.used_by),
                "project": loss.project,
                "holds": loss.holds.value,
                "size": loss.size,
                "at_least": loss.at_least,
                "content": loss.content,
                "last_write": loss.last_write and loss.last_write.isoformat(),
            }
            for loss in plan.losses
        ],
        "stays": [{"name": one.name, "why": one.why} for one in plan.stays],
        "gaps": list(plan.gaps),
        "stops": list(plan.stops),
        "safer": plan.safer or None,
    }


def facts(backup: Backup) -> list[tuple[str, str]]:
    """What a manifest says of the whole."""
    engine = backup.engine
    return [
        ("backup", backup.id),
        ("taken", f"{backup.taken_at:%Y-%m-%d %H:%M:%S} UTC"),
        ("verified", f"{backup.verified_at:%Y-%m-%d %H:%M:%S} UTC, read back and compared"),
        ("before", shlex.join(backup.argv)),
        ("in folder", backup.cwd),
        ("called by", backup.caller),
        ("engine", f"{engine.name} at {engine.host}, {engine.version}, id {engine.id}"),
        ("project", backup.project or "-"),
        ("stopped", ", ".join(one.name for one in backup.stopped) or "no container"),
        ("size", f"{Bytes(backup.data_bytes)}, stored {Bytes(backup.stored_bytes)}"),
        ("written by", f"safedocker {backup.safedocker}, form {backup.form}"),
    ]


def part_facts(part: Part) -> list[tuple[str, str]]:
    """What it says of one volume."""
    told = [
        ("volume", part.name),
        ("kind", part.kind.value),
        ("content", part.content or "unknown"),
        ("driver", " ".join((part.driver, *(f"{k}={v}" for k, v in part.options.items())))),
        ("labels", ", ".join(f"{key}={value}" for key, value in part.labels.items()) or "none"),
        *(
            ("used by", f"{use.container} ({use.image}) at {use.target}" + _was(use.running))
            for use in part.used_by
        ),
        ("consistency", f"{part.consistency.sentence} ({part.reached})"),
    ]
    held = part.inventory
    if held is not None:
        told += [
            (
                "holds",
                f"{held.bytes} bytes; {count(held.files, 'file')}, "
                f"{count(held.directories, 'directory', 'directories')}, "
                f"{count(held.links, 'link')}, {count(held.others, 'other')}",
            ),
            ("root", f"owner {held.root_uid}:{held.root_gid}, mode {held.root_mode:04o}"),
            ("compared", part.cross_check.sentence),
        ]
    if part.file is not None:
        told.append(("file", f"{part.file.name}, {part.file.bytes} bytes, {part.file.sha256}"))
    told.append(("not kept", ", ".join(part.not_kept) or "nothing"))
    return told


def _was(running: bool) -> str:
    return ", was running" if running else ""


def ways_on(plan: Plan, rule: str) -> str:
    """After a refusal by a rule of policy: what to do instead, a line each."""
    ways = []
    if plan.safer:
        ways.append(f"to keep the volumes: {clean(plan.safer)}")
    if plan.gaps:
        ways.append("no backup can protect what is not known, so none was taken")
    elif rule == "nobody-to-ask":
        line = command_line(plan.command)
        ways.append(f"to back up first and go on: SAFEDOCKER_MODE=backup {line}")
    if rule == "nobody-to-ask":
        ways.append("to be asked: have a person type it at a terminal")
    elif rule == "unknown-loss":
        ways.append("to be asked: have a person type it at a terminal, with SAFEDOCKER_MODE=ask")
    elif rule == "mode-deny":
        ways.append("to go on all the same: whoever set mode deny has to lift it")
    return "\n".join(ways)


def abandoned(found: Abandoned) -> Iterator[str]:
    """Of a backup whose process was killed: which it was, and how to start what it had stopped."""
    of = f" before `{shlex.join(found.argv)}`" if found.argv else ""
    when = f" at {_local(found.at)}" if found.at else ""
    yield f"an earlier backup{of} was interrupted{when}; what it had copied is cleared away"
    if found.stopped:
        names = " ".join(one.name for one in found.stopped)
        on = f" on the engine {found.engine}" if found.engine else ""
        yield f"it had stopped containers{on}; to start them: docker start {names}"


def _local(at: str) -> str:
    with contextlib.suppress(ValueError):
        return f"{datetime.datetime.fromisoformat(at).astimezone():%Y-%m-%d %H:%M:%S}"
    return at


def done(backup: Backup, restored: Restored) -> Iterator[str]:
    """What an undo did, a line each."""
    yield f"put back {count(len(restored.volumes), 'volume')} from {backup.id}:"
    for one in restored.volumes:
        name = short(one.name)
        if one.name != one.part.name:
            name += f" (was {short(one.part.name)})"
        yield f"  {name}: {one.step.value}; {_holds(one.part)}"
    if restored.saved:
        yield f"what was replaced is in the backup {restored.saved.id}"
    yield from restored.notes


def _holds(part: Part) -> str:
    if part.inventory is None:
        return "the definition only: its data lies elsewhere"
    files = count(part.inventory.files, "file")
    what = f"{part.content}, " if part.content else ""
    return f"{what}{Bytes(part.inventory.bytes)} in {files}, compared equal"


def start_again(
    backup: Backup, restored: Restored, command: Command | None, *, here: bool
) -> Iterator[str]:
    """What to type next: the project's `up`, and how to mount what no project will find.

    `command` is the one before which the backup was taken, `here` whether its folder is this one.
    """
    lone = restored.volumes
    if command is not None and command.path[:1] == ("compose",):
        lone = tuple(one for one in lone if _anonymous(one.part) or one.name != one.part.name)
    if command is not None and len(lone) < len(restored.volumes):
        up = shlex.join((command.program, *command.prefix, "up", "-d"))
        place = "" if here else f"cd {shlex.quote(backup.cwd)} && "
        yield f"to start the project again: {place}{up}"
        if "-" in command.project_values("file"):
            yield "its Compose file came on standard input: give it there again"
    for one in lone:
        for use in one.part.used_by:
            yield f"to mount {short(one.name)} as {use.container} had it: " + shlex.join(
                ("docker", "run", "-v", f"{one.name}:{use.target}", use.image)
            )
        if _anonymous(one.part) and one.name == one.part.name:
            yield (
                f"to give {short(one.name)} a name: {own_command()} undo "
                f"{backup.id} --volume {to_type(one.name)} --as NAME"
            )


def _anonymous(part: Part) -> bool:
    return part.kind is Kind.ANONYMOUS_VOLUME


def held(part: Part) -> str:
    """A volume of a backup in a list: its name, and what is in it."""
    return f"{short(part.name)} ({part.content})" if part.content else short(part.name)


def to_type(challenge: str) -> str:
    """What a person is shown to type for a challenge: nobody types 64 digits."""
    return challenge[:12] if _DIGEST.fullmatch(challenge) else challenge


def clean(told: str, keep: str = "") -> str:
    """Write out what would move the cursor: labels and arguments can hold anything."""
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
