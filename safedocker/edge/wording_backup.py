"""A backup in words: what it holds, what an undo did, what an interrupted one left.

Nothing is printed here.
"""

from __future__ import annotations

import contextlib
import datetime
import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from safedocker.edge.wording import clean, count, own_command, short, to_type
from safedocker.errors import SafedockerError
from safedocker.loss.facts import Bytes
from safedocker.loss.plan import Kind

if TYPE_CHECKING:
    from safedocker.backup.feeding import Fed
    from safedocker.backup.manifest import Backup, Dump, Part
    from safedocker.backup.notes import Check, Drill, Notes, PartDrill
    from safedocker.backup.remake import Failed
    from safedocker.backup.restores import Undone
    from safedocker.backup.store import Abandoned
    from safedocker.backup.undo import Restored
    from safedocker.backup.ways import Offer
    from safedocker.command.parse import Command


OWN = "safedocker"  # the first word of a line of our own, as a backup's manifest has it


def facts(backup: Backup) -> list[tuple[str, str]]:
    """What a manifest says of the whole."""
    engine = backup.engine
    return [
        ("backup", backup.id),
        ("taken", f"{backup.taken_at:%Y-%m-%d %H:%M:%S} UTC"),
        ("verified", f"{backup.verified_at:%Y-%m-%d %H:%M:%S} UTC, {_verified(backup)}"),
        ("by" if backup.argv[:1] == (OWN,) else "before", shlex.join(backup.argv)),
        ("in folder", backup.cwd),
        ("called by", backup.caller),
        (
            "engine",
            f"{engine.name} at {engine.host}, {engine.version}, id {engine.id}" if engine else "-",
        ),
        ("project", backup.project or "-"),
        ("stopped", ", ".join(one.name for one in backup.stopped) or "no container"),
        ("size", f"{Bytes(backup.data_bytes)}, stored {Bytes(backup.stored_bytes)}"),
        ("written by", f"safedocker {backup.safedocker}, form {backup.form}"),
    ]


def _verified(backup: Backup) -> str:
    if not backup.moved:
        return "read back and compared"
    moved = f"moved by one rename: {', '.join(short(part.name) for part in backup.moved)}"
    return moved if len(backup.moved) == len(backup.parts) else f"the rest read back; {moved}"


def note_facts(notes: Notes) -> Iterator[tuple[str, str]]:
    """What was learnt of it since."""
    if notes.kept:
        yield "kept", "it is never expired or deleted"
    check, drill = notes.check, notes.drill
    yield "checked", _at(check.at) + said_of(check) if check else "never since it was taken"
    if check:
        for part in check.parts:
            if not part.well:
                yield "", f"{short(part.name)}: {part.found.value}: {part.why}"
    yield "drill", _at(drill.at) + said_of(drill) + f", on {drill.engine}" if drill else "none yet"
    if drill:
        for tried in drill.parts:
            yield "", f"{short(tried.name)}: {_drilled(tried)}"


def checked(id_: str, check: Check) -> Iterator[str]:
    """What a check found, a line for the whole and one for each part."""
    yield f"{id_}: {'well' if check.well else 'not well'}"
    for part in check.parts:
        why = f": {part.why}" if part.why else ""
        yield f"  {short(part.name)}: {part.found.value}{why}"


def drilled(backup: Backup, drill: Drill) -> Iterator[str]:
    """What a drill saw, a line for the whole and one for each part; the log of what failed."""
    yield f"{backup.id}: {'well' if drill.well else 'not well'}, tried on {drill.engine}"
    for part in drill.parts:
        yield f"  {short(part.name)}: {_drilled(part)}"
        for line in part.log:
            yield f"    | {clean(line)}"


def _drilled(part: PartDrill) -> str:
    """ "PostgreSQL 15 came up in 1.2 s: 2 databases, 14 tables, about 20000 rows"."""
    about = {"rows", "documents"}  # by the database's own estimate
    told = ", ".join(
        ("about " if what in about else "") + count(number, what.removesuffix("s"))
        for what, number in part.counts.items()
    )
    return f"{part.told}: {told}" if told else part.told


def _at(moment: datetime.datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC: "


def said_of(one: Check | Drill) -> str:
    """How a check or a drill ended, in a word or two."""
    bad = [part.name for part in one.parts if not part.well]
    return f"not well: {', '.join(map(short, bad))}" if bad else "well"


def part_facts(part: Part) -> list[tuple[str, str]]:
    """What it says of one part."""
    if not part.kind.is_volume:
        return _record_facts(part)
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
    if part.aside is not None:
        size = "of unknown size" if part.size is None else f"{Bytes(part.size)}"
        told.append(("stands", f"{part.aside.path} on the engine's host, {size}"))
    told.append(("not kept", ", ".join(part.not_kept) or "nothing"))
    for dump in part.dumps:
        told += _dump_facts(dump)
    if part.no_dump:
        told.append(("no dump", part.no_dump))
    return told


def _dump_facts(dump: Dump) -> list[tuple[str, str]]:
    from safedocker.backup.manifest import Consistency

    held = ", ".join(dump.holds) or "no database"
    lacks = [("not in it", f"{_closed(dump)}; the copy has it")] if dump.lacks else []
    return [
        ("dump", f"{dump.database} {dump.version} in {dump.container} ({dump.image}): {held}"),
        *lacks,
        ("consistency", Consistency.DUMPED.sentence + f" ({dump.tool})"),
        ("proven by", f"{dump.proof}; {dump.bytes} bytes, read back and compared"),
        ("file", f"{dump.file.name}, {dump.file.bytes} bytes, {dump.file.sha256}"),
    ]


def _closed(dump: Dump) -> str:
    return f"{', '.join(dump.lacks)}, which lets nobody connect"


def beside(backup: Backup) -> Iterator[str]:
    """What to say of dumps after a backup: which there are, and why there are none."""
    for part in backup.parts:
        for dump in part.dumps:
            yield f"dumped besides: {dump.database} {dump.version} in {dump.container}"
            if dump.lacks:
                yield f"not in the dump, but in the copy: {_closed(dump)}"
        if part.no_dump:
            yield f"no dump besides the copy, which is whole: {part.no_dump}"


def fed(backup: Backup, done: Fed) -> Iterator[str]:
    """What a dump was fed into, and how it compares."""
    dump = done.dump
    yield (
        f"fed the dump of {dump.database} {dump.version} from {backup.id} into {done.container}: "
        f"{', '.join(dump.holds) or 'it holds no database'}"
    )
    yield f"compared: {done.compared}"
    if dump.database in {"PostgreSQL", "MariaDB"}:
        yield "users and passwords are those of the dump now"
    if done.upgrade:
        yield f"the server is a later version: docker exec {done.container} {done.upgrade}"
    if done.saved:
        yield f"what was replaced is dumped in the backup {done.saved.id}"
    yield from done.notes


def _record_facts(part: Part) -> list[tuple[str, str]]:
    told = [(_word(part), part.name)]
    told += [(key, value) for key, value in part.options.items()]
    if part.kind is Kind.CONFIG:
        labels = ", ".join(f"{key}={value}" for key, value in part.labels.items())
        told.append(("labels", labels or "none"))
    told.append(("consistency", f"{part.consistency.sentence} ({part.reached})"))
    if part.file is not None:
        told.append(("file", f"{part.file.name}, {part.file.bytes} bytes, {part.file.sha256}"))
    told.append(("not kept", ", ".join(part.not_kept) or "nothing"))
    return told


def counted(parts: Sequence[Part]) -> str:
    """ "2 volumes and 1 config"."""
    numbers: dict[str, int] = {}
    for part in parts:
        word = _word(part)
        numbers[word] = numbers.get(word, 0) + 1
    return " and ".join(count(number, word) for word, number in numbers.items())


def _word(part: Part) -> str:
    """What a person calls it."""
    if part.kind is Kind.LAYER:
        return "container"
    return "volume" if part.kind.is_volume else part.kind.value


def _was(running: bool) -> str:
    return ", was running" if running else ""


def abandoned(found: Abandoned, notes: Sequence[str]) -> Iterator[str]:
    """Of a run that was killed: which it was, what it left, and what was put right (`notes`)."""
    of = f" `{shlex.join(found.argv)}`" if found.argv else ""
    when = f" at {_local(found.at)}" if found.at else ""
    if not found.moving:
        before = f" before{of}" if of else ""
        what = of if found.argv[:1] == (OWN,) else f" backup{before}"
        copied = (
            f"the backup {found.id} is whole"
            if found.whole
            else "what it had copied is cleared away"
        )
        yield f"an earlier{what} was interrupted{when}; {copied}"
    elif found.handed:
        yield f"nobody saw how{of or ' an earlier command'}{when} ended"
    else:
        yield f"an earlier{of or ' command'} was interrupted{when} before it could run"
    on = f" on the engine {found.engine}" if found.engine else ""
    if found.making:
        yield (
            f"it was writing the volume {found.making}{on}, which may be half-written; if nobody "
            f"else made it since: docker volume rm {shlex.quote(found.making)}"
        )
    elif found.argv[:2] == (OWN, "rename"):
        yield "where both volumes are there, one of them holds all: type it again"
    yield from notes
    if notes:
        return
    if found.moving and not found.handed:
        yield f"what it had moved aside{on} is moved back as soon as that engine is asked"
    if found.stopped:
        again = "; ".join(one.again for one in found.stopped)
        yield f"it had stopped containers{on}; to start them: {again}"


def offer(offered: Offer, *, whole: bool) -> str:
    """One way to back up, as a choice: how, about how long, and the room it takes."""
    what = (
        "Back up, then go on"
        if whole
        else "Back up what can be, then go on; the rest goes for good"
    )
    told = []
    if offered.moved:
        which = "" if not offered.copied else f"{count(len(offered.moved), 'volume')} "
        told.append(f"{which}moved aside on the engine's disk, which frees no room")
    if offered.copied:
        which = "" if not offered.moved else f"{count(len(offered.copied), 'part')} "
        size = offered.size
        room = "of unknown size" if size is None else f"at most {Bytes(size)}"
        told.append(f"{which}copied into the store, {room}")
    if offered.seconds is not None and told:
        told.append(f"about {max(1, round(offered.seconds))} s")
    return f"{what} ({'; '.join(told)})" if told else what


def moved(backup: Backup) -> str:
    """What was moved aside, in one phrase."""
    sizes = [part.size for part in backup.moved]
    known = [size for size in sizes if size is not None]
    size = f", {Bytes(sum(known))}" if len(known) == len(sizes) else ", of unknown size"
    return f"moved {counted(backup.moved)}{size}, aside on the engine's own disk"


def _local(at: str) -> str:
    with contextlib.suppress(ValueError):
        return f"{datetime.datetime.fromisoformat(at).astimezone():%Y-%m-%d %H:%M:%S}"
    return at


def done(backup: Backup, restored: Restored) -> Iterator[str]:
    """What an undo did, a line each."""
    yield f"put back {counted([one.part for one in restored.parts])} from {backup.id}:"
    for one in restored.parts:
        name = short(one.name) if one.part.kind.is_volume else f"{_word(one.part)} {one.name}"
        if one.name != one.part.name:
            name += f" (was {short(one.part.name)})"
        yield f"  {name}: {one.step.value}; {one.told or _holds(one.part)}"
    if restored.saved:
        yield f"what was replaced is in the backup {restored.saved.id}"
    yield from restored.notes


def not_back(backup: Backup, failed: Sequence[Failed]) -> SafedockerError:
    """What an undo could not do: the containers that are missing, and those that do not run."""
    told = []
    hints = []
    for one in failed:
        how = "is there and does not run as it did" if one.made else "is not back"
        told.append(f"the container {one.name} {how}: {one.fault.message.removesuffix('.')}")
        hints += [one.fault.hint] if one.fault.hint else []
    rest = f"the rest is back; once that is mended, type it again: {own_command()} undo"
    return SafedockerError(
        "; ".join(told), "; ".join((*dict.fromkeys(hints), f"{rest} {backup.id}"))
    )


def undone(far: Undone) -> str:
    """How far a backup is put back, in a few words."""
    left = ", ".join(short(part.name) for part in far.left)
    left += " is left" if len(far.left) == 1 else " are left"
    if far.begun:
        return f"undo was interrupted: {left}"
    if far.left:
        return f"partly undone: {left}" if far.any else "ready"
    told = [
        short(part.name) + (f" as {name}" if name else " by its dump") for part, name in far.beside
    ]
    return ", ".join(("undone", *told, *(["on another engine"] if far.far else [])))


def _holds(part: Part) -> str:
    if not part.kind.is_volume:
        return "compared equal"
    if part.aside is not None:
        return "what was moved aside, by one rename"
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
    volumes = tuple(one for one in restored.parts if one.part.kind.is_volume)
    lone = volumes
    if command is not None and command.path[:1] == ("compose",):
        lone = tuple(one for one in lone if _anonymous(one.part) or one.name != one.part.name)
    if command is not None and len(lone) < len(volumes):
        up = shlex.join((command.program, *command.prefix, "up", "-d"))
        place = "" if here else f"cd {shlex.quote(backup.cwd)} && "
        yield f"to start the project again: {place}{up}"
        if "-" in command.project_values("file"):
            yield "its Compose file came on standard input: give it there again"
    back = {one.part.name for one in restored.parts if one.part.kind is Kind.LAYER}
    for one in lone:
        # A container that is back mounts it by the name it had.
        mounted = {use.container for use in one.part.used_by if one.name == one.part.name} & back
        for use in one.part.used_by:
            if use.container in mounted:
                continue
            yield f"to mount {short(one.name)} as {use.container} had it: " + shlex.join(
                ("docker", "run", "-v", f"{one.name}:{use.target}", use.image)
            )
        if _anonymous(one.part) and one.name == one.part.name and not mounted:
            yield (
                f"to give {short(one.name)} a name: {own_command()} undo "
                f"{backup.id} --volume {to_type(one.name)} --as NAME"
            )


def _anonymous(part: Part) -> bool:
    return part.kind is Kind.ANONYMOUS_VOLUME


def held(part: Part) -> str:
    """A part of a backup in a list: its name, and what is in it."""
    if not part.kind.is_volume:
        return f"{_word(part)} {part.name}"
    return f"{short(part.name)} ({part.content})" if part.content else short(part.name)
