"""Copies a volume on its engine, and renames one: Docker can do neither. A rename moves what is in
the volume on the engine's own disk; where that can't be, it copies, and removes the old volume only
when the new one compares equal, and after a backup of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from safedocker.backup import contents, making, rest, stillness, ways
from safedocker.backup.inventory import Inventory
from safedocker.backup.manifest import Backup, CrossCheck
from safedocker.backup.rest import Rest, Still
from safedocker.backup.store import Claim, Draft, FolderStore
from safedocker.backup.take import Calm, Occasion, Progress, keep
from safedocker.backup.ways import Engine
from safedocker.errors import NoBackup, SafedockerError
from safedocker.loss.facts import ANONYMOUS, COMPOSE_HASH, Container, Volume
from safedocker.loss.plan import Kind, Loss

_COMPOSE = "com.docker.compose."


@dataclass(frozen=True)
class Copied:
    """A volume that was copied under another name. `held` is None for a definition alone, and for
    what was `moved`."""

    source: Volume
    target: Volume
    dropped: tuple[str, ...]  # labels that the new one was not given
    held: Inventory | None
    still: Still | None
    check: CrossCheck
    saved: Backup | None = None  # of a rename: what the old one was
    notes: tuple[str, ...] = ()  # sentences: what did not come along
    moved: bool = False  # by one rename on the engine's disk: there is no copy


def find(name: str, engine: Engine) -> Volume:
    """Return a volume. Raise SafedockerError when there is none."""
    found = engine.volume(name)
    if found is None:
        raise SafedockerError(f"there is no volume {name}", "see which there are: docker volume ls")
    return found


def clone(
    source: Volume,
    name: str,
    how: Rest,
    engine: Engine,
    store: FolderStore,
    claim: Claim,
    progress: Progress,
) -> Copied:
    """Make a volume of that name as a copy: driver, options, contents, and the labels but Compose's
    and the engine's own. With those a project's `down -v` would take the copy for its own volume,
    and a prune for an anonymous one.

    Raise SafedockerError; then the source is as it was, and there is no copy.
    """
    _check_free(name, engine)
    labels = {
        key: value
        for key, value in source.labels.items()
        if not key.startswith(_COMPOSE) and key != ANONYMOUS
    }
    target = _target(source, name, labels)
    if where := _place(source):
        raise SafedockerError(
            f"the data of {source.name} is in {where}: a volume with its options would be the same "
            "data, and no copy. Nothing was made",
            f"to copy the data into a volume of Docker's: docker volume create {name}; docker run "
            f"--rm -v {source.name}:/from:ro -v {name}:/to busybox cp -a /from/. /to",
        )
    with rest.journal(store, claim) as draft:
        return _copy(source, target, how, engine, draft, progress)


def rename(
    source: Volume,
    name: str,
    engine: Engine,
    store: FolderStore,
    occasion: Occasion,
    claim: Claim,
    progress: Progress,
) -> Copied:
    """Give a volume another name, with all its labels: what is in it is moved there on the engine's
    disk, and the old one goes. Killed at any moment one of the two holds all of it, and the same
    rename again goes on from there. To have the old name back, rename it back.

    Where nothing can be moved it is copied and compared, and the old one goes after a backup of it,
    so that undo can bring it back; killed at any moment there is the old one, or both.

    Raise SafedockerError before anything is done when a container has it.
    """
    # Compose compares its hash with the definition under the new name, which is another, and would
    # offer to make the volume anew. Source: compose pkg/compose/create.go, ensureVolume.
    labels = {k: v for k, v in source.labels.items() if k not in {COMPOSE_HASH, ANONYMOUS}}
    target = _target(source, name, labels)
    _check_unused(source, engine)
    with rest.journal(store, claim):
        moved = _move(source, target, engine)
    if moved is not None:
        return moved
    _check_free(name, engine)
    loss = Loss(
        Kind.NAMED_VOLUME, source.name, source, f"renamed to {name}", project=source.project
    )
    place = _place(source)
    with rest.journal(store, claim) as draft:
        saved = keep((loss,), Calm(), engine, store, occasion, progress, claim.at)
        (part,) = saved.parts
        if place:
            draft.note_making(engine.identity.name, name)
            making.create(target, engine)
            draft.note_making(engine.identity.name, "")
            copied = Copied(source, target, _dropped(source, target), None, None, CrossCheck.NONE)
        else:
            copied = _copy(source, target, Rest.REFUSE, engine, draft, progress)
            if part.inventory != copied.held:
                with contextlib.suppress(SafedockerError):
                    engine.remove_volume(name)
                raise SafedockerError(
                    f"the volume {source.name} was changed while it was being copied: it is there "
                    f"as it is, and {name} is not",
                    "stop whoever uses it, and type the command again",
                )
        _check_unused(source, engine, f"; {name} is a copy of it")
        engine.remove_volume(source.name)
    return replace(copied, saved=saved)


def _move(source: Volume, target: Volume, engine: Engine) -> Copied | None:
    """Move what is in a volume into another, which is made, and remove the first; None where that
    can't be done on this engine, and nothing was.

    A volume that is defined as the other is to be, and holds nothing, may be there: an earlier run
    that was killed made it. Where the first has lost what it held, it was killed later.
    """
    root, name = source.data_directory, target.name
    if root is None:
        return None
    present = engine.volume(name)
    try:
        inode, there = engine.mover.inodes(root, (source.name, name))
    except NoBackup:  # no image can do it
        return None
    if present is not None:
        if not making.same_definition(present, target):
            raise _taken(name)
        _check_unused(present, engine)
    copied = Copied(
        source, target, _dropped(source, target), None, None, CrossCheck.NONE, moved=True
    )
    if not inode and there and not _stands_aside(source.name, root, engine):
        engine.remove_volume(source.name)
        return copied
    if not inode:
        raise SafedockerError(
            f"the volume {source.name} is without its folder on the engine: nothing was changed",
            "see what stands aside there: safedocker aside",
        )
    try:
        if present is None:
            making.create(target, engine)
        elif there and contents.inspect(engine, name, lambda _done: None).entries > 1:
            raise _taken(name)
        engine.mover.into(root, source.name, inode, name)
        if engine.mover.inodes(root, (source.name, name)) != [0, inode]:
            raise SafedockerError(
                f"the volume {name} does not hold what was in {source.name}",
                f"look for it on the engine's host: {root}/volumes",
            )
        _check_unused(source, engine)
        engine.remove_volume(source.name)
    except BaseException:
        with contextlib.suppress(SafedockerError):
            _move_back(root, source.name, inode, name, engine, made=present is None)
        raise
    return copied


def _stands_aside(name: str, root: str, engine: Engine) -> bool:
    """Is it another command of ours that took out what was in the volume?"""
    return any(one.inode and one.volume == name for one in engine.mover.listed(root))


def _move_back(
    root: str, source: str, inode: int, name: str, engine: Engine, *, made: bool
) -> None:
    """The rename is not to be: what was in the volume is in it again, and the other is gone if it
    was `made` for this and holds nothing of it."""
    if engine.mover.inodes(root, (source, name)) == [0, inode]:
        engine.mover.into(root, name, inode, source)
    if made and engine.mover.inodes(root, (source,)) == [inode]:
        engine.remove_volume(name)


def _copy(
    source: Volume,
    target: Volume,
    how: Rest,
    engine: Engine,
    draft: Draft,
    progress: Progress,
) -> Copied:
    with rest.at_rest(source, how, engine, draft, progress) as still:
        images = ways.images_of(engine, source.name)
        filled = making.fill(
            target,
            contents.read(engine, source.name, images),
            engine,
            draft,
            progress,
            total=None,
            new=True,
            images=images,
        )
        held = filled.held
        try:
            exact = {source.name} if filled.exact else set()
            check = ways.cross_check(engine, {source.name: held}, exact)[source.name]
        except BaseException:
            with contextlib.suppress(SafedockerError):
                engine.remove_volume(target.name)
            raise
    dropped = _dropped(source, target)
    return Copied(source, target, dropped, held, still, check, notes=filled.notes)


def _target(source: Volume, name: str, labels: Mapping[str, str]) -> Volume:
    return Volume(name, source.driver, source.options, labels, created_at="")


def _dropped(source: Volume, target: Volume) -> tuple[str, ...]:
    return tuple(key for key in source.labels if key not in target.labels)


def _place(volume: Volume) -> str:
    """Where the data lies that a second volume with the same options would show too; "" where each
    volume has its own."""
    if volume.elsewhere:
        return volume.elsewhere
    device = volume.options.get("device", "")
    return device if volume.driver == "local" and volume.options.get("type") != "tmpfs" else ""


def _check_free(name: str, engine: Engine) -> None:
    if engine.volume(name) is not None:
        raise _taken(name)


def _taken(name: str) -> SafedockerError:
    return SafedockerError(
        f"there is a volume {name} already: nothing was changed", "give another name"
    )


def _check_unused(volume: Volume, engine: Engine, then: str = "") -> None:
    """No container may have it: the engine does not remove the volume of one, and can't give a
    container another."""
    _volumes, containers = engine.snapshot()
    having = stillness.users(volume.name, containers)
    if not having:
        return
    raise SafedockerError(
        f"the volume {volume.name} belongs to {_names(having)}, and a container can't be given "
        f"another volume: nothing was removed{then}",
        "\n".join(_ways_out(volume, having)),
    )


def _ways_out(volume: Volume, having: Sequence[Container]) -> list[str]:
    running = " ".join(one.name for one in having if one.running)
    first = f"docker stop {running} && " if running else ""
    told = [
        f"remove them first, volumes stay: {first}docker rm {_names(having, ' ')}",
        "then make them anew with the volume's new name:",
    ]
    told += [
        f"  {one.name} ({one.image}) has it at {mount.target}"
        for one in having
        for mount in one.mounts
        if mount.volume == volume.name
    ]
    projects = sorted({one.project for one in having if one.project})
    if projects:
        told[0] = f"remove them first, volumes stay: docker compose -p {projects[0]} down"
        told[1] = "then name it in the Compose file, and `up` makes them anew:"
    return told


def _names(containers: Sequence[Container], between: str = ", ") -> str:
    return between.join(one.name for one in containers)
