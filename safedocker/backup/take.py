"""Takes a backup: quiesce, protect each loss by a way, read back, compare, commit.

How a volume is copied is ways.py's, where it goes is store.py's. Whether to take one is not
decided here.
"""

from __future__ import annotations

import contextlib
import datetime
import enum
import errno
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import zstandard

import safedocker
from safedocker.backup import apart, dumping, expire, layers, records, stillness, ways
from safedocker.backup.contents import Meter
from safedocker.backup.inventory import BadArchive
from safedocker.backup.manifest import (
    Backup,
    Consistency,
    CrossCheck,
    Origin,
    Part,
    StoppedContainer,
    Use,
)
from safedocker.backup.records import OpenContexts, Places
from safedocker.backup.store import Claim, Draft, FolderStore
from safedocker.backup.ways import Engine, Stopped, Wish
from safedocker.errors import Changed, Interrupted, NoBackup, NoWayRound, SafedockerError
from safedocker.loss.facts import Bytes, Container, Holds, Volume
from safedocker.loss.plan import Kind, Loss, Plan, Protect

ARCHIVE = Wish()
RESERVE = 64 << 20  # bytes that stay free on the store's disk, whatever is copied there
_RECORD = 128 << 10  # bytes of a backup that copies nothing: manifest, journals
_FULL = {errno.ENOSPC, errno.EDQUOT}


class Stage(enum.Enum):
    """What goes on, for a progress bar."""

    DUMP = "dumping"
    STOP = "stopping containers"
    COPY = "copying"
    CHECK = "reading back"
    WRITE = "writing"
    COMPARE = "comparing"
    TRY = "starting"


Progress = Callable[[Stage, str, int, int | None], None]  # volume, bytes done, bytes in all


@dataclass(frozen=True)
class Occasion:
    """Why a backup is taken. `argv` as sys.argv has it, undecodable bytes included."""

    argv: tuple[str, ...]
    cwd: str
    caller: str
    form: str
    project: str | None
    process: str = ""


@dataclass(frozen=True)
class Calm:
    """The containers, by id, that are stopped or paused before anything is copied."""

    stop: tuple[str, ...] = ()
    pause: tuple[str, ...] = ()


def take(
    plan: Plan,
    losses: tuple[Loss, ...],
    engine: Engine | None,
    store: FolderStore,
    *,
    argv: Sequence[str],
    cwd: str,
    caller: str,
    progress: Progress,
    now: datetime.datetime,
    stop: bool = True,
    reserve: int = RESERVE,
    contexts: OpenContexts | None = None,
    wish: Wish = ARCHIVE,
    process: str = "",
) -> Backup:
    """Back up `losses` of the plan; return it once it is verified and committed.

    The plan's `stops` are stopped first, its `pauses` paused, and stay so on success
    (`backup.stopped`). When anything fails they run again, the draft is gone, and NoBackup is
    raised; Interrupted and KeyboardInterrupt pass through as they are. Without `stop` nobody is
    stopped: for volumes that are empty, and what can be made again from its definition. `now` is
    UTC, `reserve` bytes that stay free. `engine` is None, and `contexts` opens a folder of
    configuration, where it is contexts that go. What `wish` has moved is moved by
    aside.set_aside, as the last thing before the command; `process` is the stamp of who does it.
    """
    apart.check(plan.losses, store, engine)
    occasion = Occasion(tuple(argv), cwd, caller, plan.form.name, plan.project, process)
    calm = Calm(plan.stops, plan.pauses) if stop else None
    return keep(losses, calm, engine, store, occasion, progress, now, reserve, contexts, wish)


def keep(
    losses: tuple[Loss, ...],
    calm: Calm | None,
    engine: Engine | None,
    store: FolderStore,
    occasion: Occasion,
    progress: Progress,
    now: datetime.datetime,
    reserve: int = RESERVE,
    contexts: OpenContexts | None = None,
    wish: Wish = ARCHIVE,
) -> Backup:
    """As `take`, for losses that no plan names; `calm` None: whoever runs with them may go on."""
    apart.check(losses, store, engine)
    places = Places(engine, contexts)
    taking = _Taking(losses, calm, places, store, occasion, progress, now, reserve, wish)
    try:
        return taking.run()
    except (NoBackup, Interrupted):
        raise
    except SafedockerError as fault:
        raise NoBackup(
            f"the backup failed: {_reason(fault)}: nothing was removed", fault.hint
        ) from fault
    except OSError as fault:
        if fault.errno in _FULL:
            raise taking.full() from fault
        raise NoBackup(
            f"the backup failed: {_reason(fault)}: nothing was removed",
            f"see that {store.where} can be written and the engine answers",
        ) from fault
    except zstandard.ZstdError as fault:
        raise NoBackup(
            f"the backup could not be packed: {fault}: nothing was removed", "type it again"
        ) from fault


class _Taking:
    """One run of `keep`: what it was given, and what is to be put right when it fails."""

    def __init__(
        self,
        losses: tuple[Loss, ...],
        calm: Calm | None,
        places: Places,
        store: FolderStore,
        occasion: Occasion,
        progress: Progress,
        now: datetime.datetime,
        reserve: int,
        wish: Wish,
    ) -> None:
        self._losses = losses
        self._volumes = tuple(loss for loss in losses if loss.kind.is_volume)
        self._layers = tuple(loss for loss in losses if loss.kind is Kind.LAYER)
        self._live = calm is None
        self._calm = calm or Calm()
        self._places = places
        self._store = store
        self._occasion = occasion
        self._progress = progress
        self._now = now
        self._reserve = reserve
        ended = wish.ended and not self._live and not self._calm.pause
        self._wish = replace(wish, ended=ended, fine=True)
        self._no_dump = ""  # why a database that runs can't be dumped, as far as it is known
        # By volume, of those that were changed while they were read: what was, once it is let pass.
        self._changed: dict[str, str] = {}

    @property
    def _engine(self) -> Engine:
        if self._places.engine is None:
            raise NoBackup("no engine was asked: nothing was removed", "type the command again")
        return self._places.engine

    def run(self) -> Backup:
        """Do it. Raises more kinds than `keep` does, with everything put right before."""
        if not self._losses:
            raise NoBackup(
                "there is nothing that could be backed up: nothing was removed",
                "see what is known of it: type `safedocker explain --` before the command",
            )
        asks = self._volumes or self._layers
        volumes, containers = self._engine.snapshot() if asks else ({}, ())
        stillness.check_there(self._volumes, volumes)
        layers.check_there(self._layers, containers)
        running = tuple(one for one in containers if one.running and self._concerns(one))
        stopping = tuple(
            StoppedContainer(one.id, one.name, paused=one.id in self._calm.pause)
            for one in running
            if one.id in self._calm.stop or (one.id in self._calm.pause and one.state != "paused")
        )
        calm = {one.id for one in stopping} | set(self._calm.pause)
        if not self._live:
            stillness.check_cold(self._losses, [one for one in running if one.id not in calm])
        self._check_room()
        claim = Claim(self._now, self._occasion.argv, self._occasion.caller, self._occasion.process)
        draft = self._store.begin(claim)
        try:
            backup = self._fill(draft, containers, stopping)
            draft.commit(backup)
        except BaseException as fault:
            left = self._back_out(draft, stopping)
            if left and not isinstance(fault, KeyboardInterrupt | Interrupted):
                raise NoBackup(
                    f"the backup failed: {_reason(fault)}: nothing was removed", left
                ) from fault
            raise
        return backup

    def _fill(
        self, draft: Draft, containers: Iterable[Container], stopping: tuple[StoppedContainer, ...]
    ) -> Backup:
        dumps = partial(self._copied, stage=Stage.DUMP)
        up_to, engine = self._wish.dump_up_to, self._places.engine
        dumped = dumping.take(
            self._volumes, containers, engine, draft, up_to, dumps, why_not=self._no_dump
        )
        stopped = self._stop(draft, containers, stopping)
        before = self._cold_volumes()
        kept: list[tuple[Loss, ways.Way, ways.Kept]] = []
        for number, loss in enumerate(self._volumes, 1):
            kept.append((loss, *self._keep_one(draft, loss, f"volume-{number}")))
        if not self._live and self._cold_volumes() != before:
            raise NoBackup(
                "a volume was changed or replaced while it was being copied: nothing was removed",
                "stop whoever uses it, and type the command again",
            )
        held = {loss.name: one.inventory for loss, _way, one in kept if one.inventory}
        exact = {loss.name for loss, _way, one in kept if one.fine}
        checks = ways.cross_check(self._places.engine, held, exact)
        told = tuple(
            records.take(row, loss, self._places, draft, f"{loss.kind.value}-{number}")
            for number, loss in enumerate(self._losses, 1)
            if (row := records.way_of(loss.kind)) is not None
        )
        whole = []
        for number, loss in enumerate(self._layers, 1):
            own = [one for one in stopped if one.id == loss.id]
            itself = [one for one in containers if one.id == loss.id]
            still = stillness.how_still(own, "it did not run", itself)
            stem = f"container-{number}"
            meter = self._copied(loss)
            whole.append(layers.take(loss, self._engine, draft, stem, meter, still, ran=bool(own)))
        return Backup(
            id=draft.id,
            taken_at=self._now.astimezone(datetime.UTC),
            verified_at=datetime.datetime.now(datetime.UTC),
            safedocker=safedocker.__version__,
            argv=self._occasion.argv,
            cwd=self._occasion.cwd,
            caller=self._occasion.caller,
            engine=origin(self._places.engine),
            form=self._occasion.form,
            project=self._occasion.project,
            stopped=stopping,
            parts=tuple(
                _part(
                    *(loss, before[loss.name], way, one, containers, stopped),
                    *(checks.get(loss.name), dumped[loss.name], self._changed.get(loss.name, "")),
                )
                for loss, way, one in kept
            )
            + tuple(whole)
            + told,
        )

    def _concerns(self, one: Container) -> bool:
        """Does a container hold any of what is to be kept?"""
        held = {loss.name for loss in self._volumes}
        mounts = any(mount.volume in held for mount in one.mounts)
        return mounts or any(loss.id == one.id for loss in self._layers)

    def _stop(
        self, draft: Draft, containers: Iterable[Container], stopping: tuple[StoppedContainer, ...]
    ) -> tuple[Stopped, ...]:
        if stopping:
            names = ", ".join(one.name for one in stopping)
            self._progress(Stage.STOP, names, 0, None)
            draft.note_stopping(self._engine.identity.name, stopping)
        # Those that were paused before count for the grade, and are left paused afterwards.
        frozen = tuple(
            one.id
            for one in containers
            if one.running and one.id in self._calm.pause and self._concerns(one)
        )
        if not stopping and not frozen:
            return ()
        paused = self._engine.pause(frozen)
        return paused + self._engine.stop(tuple(one.id for one in stopping if not one.paused))

    def _copied(self, loss: Loss, stage: Stage = Stage.COPY) -> Meter:
        def copied(done: int) -> None:
            free = self._store.free_bytes()
            if free is not None and free < self._reserve and loss.holds is not Holds.EMPTY:
                raise OSError(errno.ENOSPC, "no room is left")
            self._progress(stage, loss.name, done, loss.size if stage is Stage.COPY else None)

        return copied

    def _meters(self, loss: Loss) -> ways.Meters:
        return ways.Meters(self._copied(loss), partial(self._progress, Stage.CHECK, loss.name))

    def _keep_one(
        self, draft: Draft, loss: Loss, stem: str, *, fine: bool = True
    ) -> tuple[ways.Way, ways.Kept]:
        way = ways.choose(loss, replace(self._wish, fine=fine))
        try:
            kept = way.take(self._engine, loss, draft, stem, self._meters(loss))
        except Changed as fault:
            if loss.name not in self._changed:  # what wrote may have ended by now
                self._changed[loss.name] = ""
                return self._keep_one(draft, loss, stem, fine=fine)
            if not self._live:
                raise stillness.written_to(loss, fault) from fault
            self._changed[loss.name] = fault.message  # it is told in the grade
            return self._keep_one(draft, loss, stem, fine=False)
        except NoWayRound as fault:
            raise stillness.not_to_be_copied(loss, fault) from fault
        except (NoBackup, BadArchive):
            if way.name == "tar":  # no such program here, or one that can't read it all
                return self._keep_one(draft, loss, stem, fine=False)
            if way.stores or self._wish.protect is Protect.MOVE:
                raise  # it was asked for, or there is no room for a copy
            self._wish = replace(self._wish, protect=Protect.ARCHIVE)  # nothing can be moved here
            self._check_room()
            return self._keep_one(draft, loss, stem)
        return way, kept

    def _cold_volumes(self) -> dict[str, Volume]:
        """Return the volumes as they are defined now. Raise NoBackup when anybody runs with one.

        Only between two of these may created_at be compared: up to 20.10 the engine takes it from
        the contents' own directory, so it moves while somebody writes. Source: moby#44719.
        """
        if not self._volumes and not self._layers:
            return {}
        volumes, containers = self._engine.snapshot()
        stillness.check_there(self._volumes, volumes)
        if not self._live:
            paused = {one.id for one in containers if one.state == "paused"} & {*self._calm.pause}
            still = [one for one in containers if one.running and one.id not in paused]
            stillness.check_cold(self._losses, still)
        return {loss.name: volumes[loss.name] for loss in self._volumes}

    def _check_room(self) -> None:
        """Raise NoBackup where the store has no room. What may be moved is moved then, unless
        somebody asked for a copy."""
        free = self._store.free_bytes()
        copied = self._copies()
        need = self._need(copied) // 2 if copied else _RECORD
        reserve = self._reserve if copied else 0
        if free is None or free >= need + reserve:
            return
        if self._wish.protect in {Protect.AUTO, Protect.DUMP}:
            if self._wish.protect is Protect.AUTO and free < reserve:
                self._no_dump = f"there is no room for one in {self._store.where}"
            self._wish = replace(self._wish, protect=Protect.MOVE)
            self._check_room()
            return
        raise NoBackup(
            f"the backup needs about {_in_words(need, reserve)} in {self._store.where}, where "
            f"{Bytes(free)} are free: nothing was removed",
            _room(self._store, need + reserve, self._now),
        )

    def _copies(self) -> tuple[Loss, ...]:
        """What is to be copied into the store, and may be of any size."""
        own = [loss for loss in self._volumes if ways.choose(loss, self._wish).stores]
        return tuple(loss for loss in (*own, *self._layers) if loss.holds is not Holds.EMPTY)

    def _need(self, copied: tuple[Loss, ...]) -> int:
        """Return what the contents to be copied come to, in bytes, as far as it is known."""
        unknown = tuple(loss.name for loss in copied if loss.size is None and loss.kind.is_volume)
        counted = self._engine.sizes(unknown, ways.COUNT_SECONDS) if unknown else {}
        return sum(
            counted.get(loss.name, loss.at_least) if loss.size is None else loss.size
            for loss in copied
        )

    def full(self) -> NoBackup:
        """The fault of a store whose disk is full."""
        copied = self._copies()
        need = sum(max(loss.size or 0, loss.at_least) for loss in copied) if copied else _RECORD
        reserve = self._reserve if copied else 0
        where = self._store.where
        with contextlib.suppress(OSError):
            free = self._store.free_bytes() or 0
            return NoBackup(
                f"the disk of {where} is full: the backup needs up to {_in_words(need, reserve)}, "
                f"{Bytes(free)} are free: nothing was removed",
                _room(self._store, need + reserve, self._now),
            )
        return NoBackup(f"the disk of {where} is full: nothing was removed", "make room there")

    def _back_out(self, draft: Draft, stopping: tuple[StoppedContainer, ...]) -> str:
        """Start again what ran, remove the draft. Return what could not be done, as a hint."""
        if stopping:
            try:
                self._engine.start(tuple(one.id for one in stopping))
                draft.note_started()
            except (SafedockerError, OSError):
                draft.abandon()  # its journal names them, for the next run to tell
                again = "; ".join(one.again for one in stopping)
                return f"these containers could not be started again: {again}"
        with contextlib.suppress(OSError):  # the next sweep removes what is left
            draft.discard()
        return ""


def origin(engine: Engine | None) -> Origin | None:
    """The engine, as a manifest names it."""
    if engine is None:
        return None
    identity = engine.identity
    return Origin(identity.name, identity.id, identity.host, identity.version)


def _part(
    loss: Loss,
    volume: Volume,
    way: ways.Way,
    kept: ways.Kept,
    containers: Iterable[Container],
    stopped: tuple[Stopped, ...],
    check: CrossCheck | None,
    dumped: dumping.Taken,
    changed: str,
) -> Part:
    consistency, reached = stillness.consistency(loss, containers, stopped, kept, changed)
    if kept.file is None and kept.place is None:
        consistency, reached = Consistency.DEFINITION, "only the definition was kept"
    return Part(
        kind=loss.kind,
        name=loss.name,
        driver=volume.driver,
        options=dict(volume.options),
        labels=dict(volume.labels),
        used_by=tuple(
            Use(one.name, one.image, mount.target, one.running)
            for one in stillness.users(loss.name, containers)
            for mount in one.mounts
            if mount.volume == loss.name
        ),
        content=loss.content,
        way=way.name,
        file=kept.file,
        inventory=kept.inventory,
        consistency=consistency,
        reached=reached,
        cross_check=check or CrossCheck.NONE,
        not_kept=kept.not_kept or way.not_kept,
        aside=kept.place,
        size=loss.size if kept.place else None,
        dumps=dumped.dumps,
        no_dump=dumped.why_none,
        fine_sha256=kept.fine,
    )


def _reason(fault: BaseException) -> str:
    """What happened, to be put into a sentence."""
    if isinstance(fault, SafedockerError):
        return fault.message.removesuffix(".")
    said = fault.strerror if isinstance(fault, OSError) else None
    return said or str(fault) or type(fault).__name__


def _room(store: FolderStore, need: int, now: datetime.datetime) -> str:
    """How to make room, as a hint: by what can be expired first of all."""
    other = "make room there, or set XDG_DATA_HOME to a folder on another disk"
    with contextlib.suppress(SafedockerError, OSError):
        found = expire.choose(store, expire.Rule(free=need), now)
        if found.going:
            backups = "1 old backup" if len(found.going) == 1 else f"{len(found.going)} old backups"
            enough = "" if found.enough else ", which is not enough"
            line = f"safedocker expire --free {-(-need // 1_000_000)}MB"
            return f"to let {backups} go, {Bytes(found.bytes)}{enough}: {line}\n{other}"
    return other


def _in_words(need: int, reserve: int) -> str:
    return f"{Bytes(need)}" + (f", besides {Bytes(reserve)} that stay free," if reserve else "")


def silent(_stage: Stage, _volume: str, _done: int, _total: int | None) -> None:
    """Show no progress."""
