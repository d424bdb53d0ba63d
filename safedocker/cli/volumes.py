"""safedocker backup, restore, clone, rename: volumes on an ordinary day, before no command."""

from __future__ import annotations

import contextlib
import datetime
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import click

from safedocker import handover, inforce
from safedocker.cli.opened import DAILY, engine_here, open_store
from safedocker.cli.undo import undo
from safedocker.edge import process, stamp, terminal, wording, wording_backup, wording_volumes
from safedocker.errors import Interrupted, NoBackup, SafedockerError

if TYPE_CHECKING:
    from safedocker.backup.rest import Rest
    from safedocker.backup.store import Claim, FolderStore
    from safedocker.backup.take import Occasion, Progress
    from safedocker.edge.engine import Engine
    from safedocker.loss.facts import Container, Look, Volume
    from safedocker.loss.plan import Loss

LOOK_SECONDS = 10.0  # how long we may look into the volumes, to say what is in them
_DIGITS = 64  # of an anonymous volume's name

_Function = TypeVar("_Function", bound=Callable[..., object])


@dataclass(frozen=True)
class Room:
    """What a verb works with."""

    engine: Engine
    store: FolderStore
    progress: Progress
    form: str
    caller: str
    now: datetime.datetime

    @property
    def argv(self) -> tuple[str, ...]:
        """The line as it was typed."""
        return (wording_backup.OWN, *sys.argv[1:])

    @property
    def claim(self) -> Claim:
        """Who we are, for the journal."""
        from safedocker.backup.store import Claim

        return Claim(self.now, self.argv, self.caller, stamp.make())

    def occasion(self, project: str | None) -> Occasion:
        """Why a backup is taken, for its manifest."""
        from safedocker.backup.take import Occasion

        where = process.working_directory()
        return Occasion(self.argv, where, self.caller, self.form, project, stamp.make())


@contextlib.contextmanager
def opened(form: str, host: str | None, context: str | None) -> Iterator[Room]:
    """Open what a verb needs. Signals that would end it are raised, so that everybody goes on."""
    store = open_store()
    screen = terminal.Terminal()
    who = inforce.caller(can_ask=screen.can_ask)
    now = datetime.datetime.now(datetime.UTC)
    with (
        process.EndingSignals(),
        engine_here(host, context) as engine,
        screen.progress() as progress,
    ):
        handover.put_right(store, engine, screen)
        yield Room(engine, store, progress, form, who.text, now)


def on_engine(function: _Function) -> _Function:
    """The options that name the engine."""
    host = click.option("-H", "--host", metavar="HOST", help="The engine, as docker takes it.")
    context = click.option(
        "-c", "--context", metavar="NAME", help="The same, by the name of a Docker context."
    )
    return host(context(function))


def at_rest(function: _Function) -> _Function:
    """The options that say what is done about containers that run with a volume."""
    pause = click.option(
        "--pause",
        is_flag=True,
        help="Pause the containers that use it, for as long as it takes to copy. The default.",
    )
    stop = click.option(
        "--stop",
        is_flag=True,
        help="Stop them and start them again: the copy of a database is clean then. Those that "
        "would be gone (--rm, a swarm's) are paused.",
    )
    refuse = click.option("--refuse", is_flag=True, help="Do nothing when any container runs.")
    return pause(stop(refuse(function)))


def rest_of(pause: bool, stop: bool, refuse: bool) -> Rest:
    """The one that was chosen."""
    from safedocker.backup.rest import Rest

    chosen = {Rest.PAUSE: pause, Rest.STOP: stop, Rest.REFUSE: refuse}
    if sum(chosen.values()) > 1:
        raise click.UsageError("--pause, --stop, --refuse: choose one")
    return next((one for one, given in chosen.items() if given), Rest.PAUSE)


def full_name(given: str, volumes: Mapping[str, Volume]) -> str:
    """A volume's name: as it is, or of an anonymous one the beginning that is shown of it."""
    fits = [name for name in volumes if len(name) == _DIGITS and wording.to_type(name) == given]
    return fits[0] if given not in volumes and len(fits) == 1 else given


# backup


@click.command(short_help="Back up volumes now.")
@click.argument("names", metavar="[VOLUME]...", nargs=-1)
@click.option("--project", metavar="NAME", help="All volumes of a Compose project.")
@click.option("--all", "everything", is_flag=True, help="All volumes that hold data.")
@at_rest
@on_engine
def backup(
    names: tuple[str, ...],
    project: str | None,
    everything: bool,
    pause: bool,
    stop: bool,
    refuse: bool,
    host: str | None,
    context: str | None,
) -> None:
    """Back up volumes, on any day: copied, read back and compared.

    There is no copy while somebody writes: containers that run with a volume are paused for as long
    as it takes, and go on then, also when it fails. The volumes that are named, or a project's,
    are one backup and of one moment; --all makes one of each project, and one of each other volume.
    """
    if bool(names) + bool(project) + everything != 1:
        raise click.UsageError("name volumes, or give --project NAME, or --all")
    rest = rest_of(pause, stop, refuse)
    with opened(DAILY, host, context) as room:
        volumes, containers = room.engine.snapshot()
        if names:
            asked = {full_name(name, volumes) for name in names}
            groups = [_named(asked, volumes)]
        elif project:
            groups = [_of_project(project, volumes, containers)]
        else:
            groups = _each(volumes)
        _back_up(groups, project, rest, room, only_data=everything)


def _named(asked: set[str], volumes: Mapping[str, Volume]) -> list[Volume]:
    missing = sorted(asked - set(volumes))
    if missing:
        raise NoBackup(
            f"there is no volume {', '.join(missing)}: nothing was copied",
            "see which there are: docker volume ls",
        )
    return [volumes[name] for name in sorted(asked)]


def _of_project(
    project: str, volumes: Mapping[str, Volume], containers: Sequence[Container]
) -> list[Volume]:
    """The volumes with its label, and those without a name that its containers have."""
    mounted = {
        mount.volume
        for one in containers
        if one.project == project
        for mount in one.mounts
        if mount.volume in volumes and _anonymous(volumes[mount.volume])
    }
    own = {name for name, volume in volumes.items() if volume.project == project}
    if not own | mounted:
        raise NoBackup(
            f"no volume belongs to a project {project}: nothing was copied",
            "see which there are: docker volume ls --filter label=com.docker.compose.project",
        )
    return [volumes[name] for name in sorted(own | mounted)]


def _each(volumes: Mapping[str, Volume]) -> list[list[Volume]]:
    """One group a project, and one for each volume of none: nobody rests longer than its own."""
    from safedocker.loss.facts import HELPER

    groups: dict[tuple[str, str], list[Volume]] = {}
    for name, volume in sorted(volumes.items()):
        if HELPER not in volume.labels:
            key = ("project", volume.project) if volume.project else ("volume", name)
            groups.setdefault(key, []).append(volume)
    return list(groups.values())


def _anonymous(volume: Volume) -> bool:
    from safedocker.loss.facts import ANONYMOUS

    return ANONYMOUS in volume.labels or wording.to_type(volume.name) != volume.name


def _back_up(
    groups: list[list[Volume]], project: str | None, rest: Rest, room: Room, *, only_data: bool
) -> None:
    """Back up group by group, and tell of each. One that fails does not keep the others from it."""
    from safedocker.loss.facts import Holds

    looks = room.engine.look([one for group in groups for one in group], LOOK_SECONDS)
    taken = 0
    left: list[str] = []
    faults: list[SafedockerError] = []
    for group in groups:
        losses = tuple(loss_of(volume, looks[volume.name]) for volume in group)
        if only_data:
            none = {Holds.EMPTY: "empty", Holds.ELSEWHERE: "its data lies elsewhere"}
            left += [
                f"{wording.short(o.name)} ({none[o.holds]})" for o in losses if o.holds in none
            ]
            losses = tuple(one for one in losses if one.holds not in none)
        if not losses:
            continue
        try:
            _back_up_one(losses, project, rest, room)
        except Interrupted:
            raise
        except SafedockerError as fault:
            if len(groups) == 1:
                raise
            terminal.tell(fault)
            faults.append(fault)
        else:
            taken += 1
    if left:
        terminal.say(f"left out: {', '.join(left)}")
    if faults:
        raise NoBackup(
            f"{len(faults)} of {taken + len(faults)} backups failed, as told above",
            "what is backed up: safedocker backups",
        )
    if not taken:
        terminal.say("there is nothing to back up")


def loss_of(volume: Volume, look: Look) -> Loss:
    """A volume with what was seen in it, as a backup takes it."""
    from safedocker.loss.plan import Kind, Loss

    return Loss(
        kind=Kind.ANONYMOUS_VOLUME if _anonymous(volume) else Kind.NAMED_VOLUME,
        name=volume.name,
        volume=volume,
        why="asked for",
        project=volume.project,
    ).seen(look)


def _back_up_one(losses: tuple[Loss, ...], project: str | None, rest: Rest, room: Room) -> None:
    from safedocker.backup.rest import calm, wake_after
    from safedocker.backup.take import keep
    from safedocker.backup.ways import Wish
    from safedocker.loss.plan import Protect
    from safedocker.policy.options import DUMP_UP_TO

    projects = {loss.project for loss in losses}
    occasion = room.occasion(project or (projects.pop() if len(projects) == 1 else None))
    _volumes, containers = room.engine.snapshot()
    who = calm([loss.name for loss in losses], containers, rest, room.engine)
    now = datetime.datetime.now(datetime.UTC)
    wish = Wish(Protect.ARCHIVE, dump_up_to=DUMP_UP_TO)  # nothing is moved away
    made = keep(losses, who, room.engine, room.store, occasion, room.progress, now, wish=wish)
    wake_after(made, room.engine, room.store)
    for line in wording_volumes.backed_up(made):
        terminal.say(line)


# restore


restore = click.Command(
    name="restore",
    callback=undo.callback,
    params=[click.Argument(["id_"], metavar="ID"), *undo.params[1:]],
    short_help="Put a backup back, by its ID.",
    help="""Put a backup back by its ID, or the beginning of it.

    The same as `safedocker undo ID`, which without an ID takes the last one. Beside what is there:
    safedocker restore ID --volume NAME --as NEWNAME.
    """,
)


# clone, rename


@click.command()
@click.argument("source", metavar="VOLUME")
@click.argument("name", metavar="NEW")
@at_rest
@on_engine
def clone(
    source: str,
    name: str,
    pause: bool,
    stop: bool,
    refuse: bool,
    host: str | None,
    context: str | None,
) -> None:
    """Copy a volume under a new name.

    Contents, driver, options and labels are kept, and compared. Compose's own labels are not: with
    them a project would take the copy for one of its volumes, and `down -v` would remove it.
    """
    from safedocker.backup import clone as cloning

    rest = rest_of(pause, stop, refuse)
    with opened("clone", host, context) as room:
        volumes, _containers = room.engine.snapshot()
        volume = cloning.find(full_name(source, volumes), room.engine)
        done = cloning.clone(volume, name, rest, room.engine, room.store, room.claim, room.progress)
    for line in wording_volumes.cloned(done):
        terminal.say(line)


@click.command()
@click.argument("source", metavar="VOLUME")
@click.argument("name", metavar="NEW")
@on_engine
def rename(source: str, name: str, host: str | None, context: str | None) -> None:
    """Give a volume another name: labels, driver and options are kept.

    What is in it is moved on the engine's own disk, and nothing is copied. Killed at any moment it
    can be typed again; to have the old name back, rename it back. Where nothing can be moved it is
    backed up, copied and compared, and only then the old one is removed: `undo` brings that back.

    No container may have it, running or not, as a container can't be given another volume. A
    Compose file has to name it anew.
    """
    from safedocker.backup import clone as cloning
    from safedocker.cli.whose import may_remove

    with opened("rename", host, context) as room:
        volumes, _containers = room.engine.snapshot()
        volume = cloning.find(full_name(source, volumes), room.engine)
        may_remove(volume, room.engine, "rename")
        done = cloning.rename(
            volume,
            name,
            room.engine,
            room.store,
            room.occasion(volume.project),
            room.claim,
            room.progress,
        )
    for line in wording_volumes.renamed(done):
        terminal.say(line)
