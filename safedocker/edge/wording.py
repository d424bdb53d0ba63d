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

from safedocker.loss.facts import Holds
from safedocker.loss.forms import Reach
from safedocker.loss.plan import Kind

if TYPE_CHECKING:
    from safedocker.command.parse import Command
    from safedocker.loss.plan import Loss, Plan
    from safedocker.policy.options import Caller

STAYS_SHOWN = 8
USERS_SHOWN = 4
_CALLER_SHOWN = 300  # characters
_DIGEST = re.compile("[0-9a-f]{64}")
_BARE_SHELL = re.compile(r"(\S*/)?-?(ba|da|z|k|fi|)sh( -\w+| --?login)*")


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
    if plan.form.reach is not Reach.NAMED_VOLUMES:
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
        return f"{named}, {size(least)}"
    return f"{named}, more than {size(least)}" if least else f"{named} of unknown size"


def by_project(plan: Plan) -> dict[str | None, list[Loss]]:
    """Losses by project, those without one last; within one, those that hold data first.

    Compose writes no project on an anonymous volume, so what a project's command takes is its.
    """
    groups: dict[str | None, list[Loss]] = {}
    for loss in sorted(
        plan.losses,
        key=lambda loss: (
            not (loss.project or plan.project),
            loss.project or plan.project or "",
            loss.holds in {Holds.EMPTY, Holds.ELSEWHERE},
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
        known = size(loss.size)
    else:
        known = f"more than {size(loss.at_least)}" if loss.at_least else "unknown"
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


def to_type(challenge: str) -> str:
    """What a person is shown to type for a challenge: nobody types 64 digits."""
    return challenge[:12] if _DIGEST.fullmatch(challenge) else challenge


def clean(told: str, keep: str = "") -> str:
    """Write out what would move the cursor: labels and arguments can hold anything."""
    return "".join(one if one.isprintable() or one in keep else ascii(one)[1:-1] for one in told)


def count(number: int, what: str) -> str:
    """ "1 volume", "3 volumes"."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def size(number: int) -> str:
    """Bytes as Docker writes them: "512 B", "1.2 GB"."""
    value = float(number)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 999.5 or unit == "TB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" or value >= 99.95 else f"{value:.1f} {unit}"


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
