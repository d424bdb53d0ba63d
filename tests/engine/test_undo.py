"""Undo checks everything first, never loses what stands in its place, and can be run again."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from safedocker.backup.manifest import Backup
from safedocker.backup.refill import Step
from safedocker.backup.store import FolderStore
from safedocker.backup.take import Stage, silent
from safedocker.backup.undo import Restored, undo
from safedocker.edge.engine import Engine
from safedocker.errors import SafedockerError
from tests.engine.test_round_trip import mountpoint, see
from tests.engine.test_take import (
    NOW,
    Elsewhere,
    address,
    client,
    from_here,
    keep_all,
    make_container,
    make_volume,
    store,
)
from tests.engine.test_tar_way import access, see_finely
from tests.engines import PrivateEngine

pytestmark = pytest.mark.engine
__all__ = ["client", "store"]  # fixtures


class Story:
    """Volumes that were backed up and removed, and what they held."""

    def __init__(self, private: PrivateEngine, client: Engine, store: FolderStore) -> None:
        self.private, self.client, self.store = private, client, store
        for name in ("data", "more"):
            make_volume(private, name, "--label", f"of={name}")
        self.seen = {name: see(mountpoint(private, name)) for name in ("data", "more")}
        self.backup = keep_all(client, store, "data", "more", reserve=0)
        private.run("docker", "volume", "rm", "data", "more")

    def undo(self, **options: object) -> Restored:
        options = {"progress": silent, "now": NOW, "reserve": 0, **options}
        return undo(self.backup, self.client, self.store, **options)  # type: ignore[arg-type]  # each test's own

    def refused(self, match: str, **options: object) -> SafedockerError:
        """Undo, and check that it changed nothing."""
        before = self.volumes()
        with pytest.raises(SafedockerError, match=match) as caught:
            self.undo(**options)
        assert self.volumes() == before
        assert caught.value.hint
        assert self.store.get(self.backup.id) == self.backup
        return caught.value

    def volumes(self) -> dict[str, object]:
        names = self.private.run("docker", "volume", "ls", "-q").stdout.split()
        return {name: see(mountpoint(self.private, name)) for name in names}

    def steps(self, restored: Restored) -> dict[str, Step]:
        return {one.name: one.step for one in restored.parts}

    def back(self, name: str, of: str = "") -> bool:
        labels = self.client.volume(name)
        assert labels
        assert labels.labels == {"of": of or name}
        return see(mountpoint(self.private, name)) == self.seen[of or name]


@pytest.fixture
def story(fresh: PrivateEngine, client: Engine, store: FolderStore) -> Story:
    return Story(fresh, client, store)


@pytest.fixture
def story26(engine26: PrivateEngine, store: FolderStore) -> Iterator[Story]:
    """For what hangs on no engine's version."""
    with engine26.swept(), contextlib.closing(Engine(address(engine26))) as client:
        yield Story(engine26, client, store)


def test_all_volumes_come_back(story: Story) -> None:
    restored = story.undo()
    assert story.steps(restored) == {"data": Step.CREATE, "more": Step.CREATE}
    assert restored.saved is None
    assert restored.notes == ()
    assert story.back("data")
    assert story.back("more")


def test_only_what_is_named_comes_back_under_the_name_that_is_given(story: Story) -> None:
    story.undo(only=("data",), rename={"data": "copy"})
    assert set(story.volumes()) == {"copy"}
    assert story.back("copy", of="data")


def test_names_that_are_not_in_the_backup_are_told(story: Story) -> None:
    assert "data" in story.refused("does not hold", only=("dta",)).hint
    story.refused("not among", only=("data",), rename={"more": "x"})
    story.refused("under one name", rename={"data": "more"})


def test_empty_volume_of_the_same_definition_is_filled(story: Story) -> None:
    story.private.run("docker", "volume", "create", "--label", "of=data", "data")
    story.private.run("docker", "create", "--name", "idle", "-v", "data:/d", "busybox")
    assert story.steps(story.undo()) == {"data": Step.FILL, "more": Step.CREATE}
    assert story.back("data")


def test_empty_volume_of_another_definition_is_made_anew(story: Story) -> None:
    story.private.run("docker", "volume", "create", "--label", "of=other", "data")
    assert story.steps(story.undo())["data"] is Step.RECREATE
    assert story.back("data")


def test_volume_of_another_definition_that_belongs_to_a_container_stays(story: Story) -> None:
    story.private.run("docker", "volume", "create", "--label", "of=other", "data")
    story.private.run("docker", "create", "--name", "idle", "-v", "data:/d", "busybox")
    assert "docker rm idle" in story.refused("belongs to the container idle").hint


def test_attributes_that_are_gone_are_put_back_and_what_was_there_is_kept(story26: Story) -> None:
    story = story26
    story.undo(only=("data",))
    place = mountpoint(story.private, "data")
    fine = see_finely(place)
    os.utime(place / "rows", ns=(0, int((place / "rows").stat().st_mtime) * 10**9))
    os.setxattr(place / "noise", "user.note", b"since")
    os.setxattr(place, "user.note", b"since")
    story.private.run("docker", "create", "--name", "idle", "-v", "data:/d", "busybox")
    for how in (Elsewhere, Engine):
        with contextlib.closing(how(address(story.private))) as client:
            restored = undo(
                story.backup,
                client,
                story.store,
                only=("data",),
                progress=silent,
                now=NOW,
                reserve=0,
            )
        if how is Elsewhere:  # which can't see them, and says so
            assert story.steps(restored) == {"data": Step.NOTHING}
            assert "not compared" in restored.notes[0]
            continue
        assert story.steps(restored) == {"data": Step.DRESS}
        assert restored.notes == ()
        assert see_finely(place) == fine
        assert story.back("data")
        assert restored.saved
        again = {"data": "since"}
        undo(restored.saved, story.client, story.store, rename=again, progress=silent, now=NOW)
        since = mountpoint(story.private, "since")
        assert os.getxattr(since / "noise", "user.note") == b"since"
        assert story.steps(story.undo(only=("data",))) == {"data": Step.NOTHING}


def test_what_the_backup_could_not_hold_is_told_again(story26: Story) -> None:
    story = story26
    make_volume(story.private, "far")
    with contextlib.closing(Elsewhere(address(story.private))) as client:
        backup = keep_all(client, story.store, "far", reserve=0)
    assert backup.parts[0].way == "archive"
    story.private.run("docker", "volume", "rm", "far")
    (note,) = undo(backup, story.client, story.store, progress=silent, now=NOW).notes
    assert note.startswith("far: not in the backup, as it could not be read: extended attributes")


def test_what_an_empty_volume_would_hand_down_is_not_in_what_it_is_filled_with(
    story26: Story,
) -> None:
    story = story26
    story.undo(only=("data",))
    fine = see_finely(mountpoint(story.private, "data"))
    story.private.run("docker", "volume", "rm", "data")
    story.private.run("docker", "volume", "create", "--label", "of=data", "data")
    place = mountpoint(story.private, "data")
    os.setxattr(place, "system.posix_acl_default", access(other=0))
    os.setxattr(place, "user.note", b"of the volume that was made since")
    restored = story.undo(only=("data",))
    assert (story.steps(restored), restored.notes) == ({"data": Step.FILL}, ())
    assert see_finely(place) == fine
    assert story.back("data")


def test_what_somebody_makes_meanwhile_is_left_alone(story26: Story) -> None:
    story = story26

    def meanwhile(stage: Stage, volume: str, *_: object) -> None:
        if (stage, volume) == (Stage.WRITE, "data") and "more" not in story.volumes():
            make_volume(story.private, "more", "--label", "of=more")

    with pytest.raises(SafedockerError, match="more was made or changed by somebody else"):
        story.undo(progress=meanwhile)
    assert story.back("data")
    assert (mountpoint(story.private, "more") / "noise").stat().st_size == 3_000_000


def test_what_is_written_into_a_volume_that_is_to_be_replaced_stays(story26: Story) -> None:
    """It is in no backup, as it came after that was taken."""
    story = story26
    make_volume(story.private, "more", "--label", "of=more")
    since = mountpoint(story.private, "more") / "since"

    def meanwhile(stage: Stage, volume: str, *_: object) -> None:
        if (stage, volume) == (Stage.WRITE, "data"):
            since.write_text("since")

    with pytest.raises(SafedockerError, match="more was made or changed") as caught:
        story.undo(progress=meanwhile, overwrite=True)
    assert since.read_text() == "since"
    assert "what was there is in the backup" in caught.value.hint


def test_volume_that_holds_data_stays(story: Story) -> None:
    make_volume(story.private, "data", "--label", "of=data")
    assert "--overwrite" in story.refused("holds data").hint


def test_overwrite_backs_up_first_and_that_can_be_undone(story: Story) -> None:
    place = make_volume(story.private, "data", "--label", "new=one")
    newer = see(place)
    restored = story.undo(overwrite=True, argv=("safedocker", "undo"), caller="me")
    assert story.steps(restored)["data"] is Step.REPLACE
    assert story.back("data")
    assert restored.saved
    assert restored.saved.form == "undo"
    story.backup = restored.saved
    story.undo(overwrite=True)
    assert see(mountpoint(story.private, "data")) == newer
    volume = story.client.volume("data")
    assert volume
    assert volume.labels == {"new": "one"}


def test_overwrite_leaves_a_volume_that_belongs_to_a_container(story: Story) -> None:
    make_volume(story.private, "data")
    story.private.run("docker", "create", "--name", "idle", "-v", "data:/d", "busybox")
    story.refused("belongs to", overwrite=True)


@pytest.mark.parametrize("overwrite", [False, True])
def test_volume_in_use_stays(story: Story, overwrite: bool) -> None:
    make_container(story.private, "web", "-v", "data:/d")
    refused = story.refused("in use by web", overwrite=overwrite)
    assert refused.hint == "stop it first: docker stop web"


def test_other_engine_is_refused(story: Story) -> None:
    assert story.backup.engine is not None
    story.backup = replace(story.backup, engine=replace(story.backup.engine, id="ANOTHER"))
    with pytest.raises(SafedockerError, match="comes from the engine"):
        story.undo()
    assert story.volumes() == {}


DAMAGE = ["flipped", "truncated", "missing", "appended"]


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_part_is_found_before_anything_is_touched(story: Story, damage: str) -> None:
    part = story.backup.parts[1].file
    assert part
    file = Path(story.store.where) / story.backup.id / part.name
    whole = file.read_bytes()
    half = len(whole) // 2
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(
            {
                "flipped": whole[:half] + bytes([whole[half] ^ 1]) + whole[half + 1 :],
                "truncated": whole[:half],
                "appended": whole + b"x",
            }[damage]
        )
    story.refused("volume-2")
    assert story.volumes() == {}
    story.undo(only=("data",))
    assert story.back("data")


def test_way_of_a_newer_version_is_told(story: Story) -> None:
    parts = tuple(replace(part, way="teleport") for part in story.backup.parts)
    story.backup = replace(story.backup, parts=parts)
    with pytest.raises(SafedockerError, match="teleport"):
        story.undo()
    assert story.volumes() == {}


class Garbles(Elsewhere):
    """An engine that writes other contents than it was given, and says nothing."""

    @contextlib.contextmanager
    def read_volume(self, name: str) -> Iterator[Iterator[bytes]]:
        with super().read_volume(name) as chunks:
            yield (chunk.replace(b"a row of data", b"a row of dust") for chunk in chunks)


def test_volume_that_does_not_compare_equal_is_told_and_can_be_undone_again(
    story: Story,
) -> None:
    with (
        Garbles(address(story.private)) as garbles,
        pytest.raises(SafedockerError, match="does not hold what the backup holds") as caught,
    ):
        undo(story.backup, garbles, story.store, progress=silent, now=NOW, reserve=0)
    assert story.backup.id in caught.value.hint
    assert story.store.get(story.backup.id) == story.backup
    assert story.steps(story.undo())["data"] is Step.NOTHING
    assert story.back("more")


def test_interrupt_removes_what_was_half_written(story: Story) -> None:
    def interrupt(stage: Stage, *_: object) -> None:
        if stage is Stage.WRITE:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        story.undo(progress=interrupt)
    assert story.volumes() == {}
    story.undo()
    assert story.back("data")


DIES = """
import contextlib, datetime, os, signal, sys
from pathlib import Path
from safedocker.backup.store import FolderStore
from safedocker.backup.take import Stage
from safedocker.backup.undo import undo
from safedocker.edge.address import Address
from safedocker.edge.engine import Engine
socket, place, stage, volume, id_, how = sys.argv[1:]
def dies(at, which, done, _total):
    if at is Stage[stage] and which == volume and done > 1 << 20:
        os.kill(os.getpid(), signal.SIGKILL)
class Elsewhere(Engine):
    @contextlib.contextmanager
    def folder(self, _name):
        yield None
kind = Elsewhere if how == "engine" else Engine
engine = kind(Address(f"unix://{socket}", "a test", "default", None, False))
store = FolderStore(Path(place))
now = datetime.datetime.now(datetime.UTC)
undo(store.get(id_), engine, store, progress=dies, now=now)
"""


@pytest.mark.parametrize("volume", ["data", "more"])
@pytest.mark.parametrize("stage", [Stage.CHECK, Stage.WRITE, Stage.COMPARE], ids=lambda s: s.name)
def test_killed_undo_can_be_run_again(story: Story, stage: Stage, volume: str) -> None:
    place, id_ = story.store.where, story.backup.id
    died = from_here(DIES, story.private.socket, place, stage.name, volume, id_, "folder")
    assert died.returncode == -signal.SIGKILL, died.stderr
    story.client.sweep()
    steps = story.steps(story.undo())
    if stage is not Stage.CHECK and volume == "more":
        assert steps["data"] is Step.NOTHING
    assert story.back("data")
    assert story.back("more")


@pytest.mark.parametrize("how", ["folder", "engine"])
def test_killed_undo_of_a_volume_that_a_container_has_can_be_run_again(
    story26: Story, how: str
) -> None:
    """Such a volume can't be made anew; what a person put into it since is kept all the same."""
    story = story26
    story.private.run("docker", "volume", "create", "--label", "of=data", "data")
    story.private.run("docker", "create", "--name", "idle", "-v", "data:/d", "busybox")
    place, id_ = story.store.where, story.backup.id
    died = from_here(DIES, story.private.socket, place, "WRITE", "data", id_, how)
    assert died.returncode == -signal.SIGKILL, died.stderr
    half = mountpoint(story.private, "data")
    mine = "rows" if how == "engine" else "mine"  # the engine replaces, and removes nothing else
    if how == "folder":
        (half / "mine/deep").mkdir(parents=True)
    (half / mine / "since" if how == "folder" else half / mine).write_text("since")
    kind = Elsewhere if how == "engine" else Engine
    with contextlib.closing(kind(address(story.private))) as client:
        client.sweep()
        restored = undo(story.backup, client, story.store, progress=silent, now=NOW, reserve=0)
        assert story.steps(restored) == {"data": Step.REFILL, "more": Step.CREATE}
        assert story.back("data")
        assert restored.saved
        again = {"data": "since"}
        undo(restored.saved, client, story.store, rename=again, progress=silent, now=NOW, reserve=0)
    since = mountpoint(story.private, "since") / mine
    assert (since / "since" if how == "folder" else since).read_text() == "since"


def test_half_written_volume_is_not_simply_thrown_away(story: Story) -> None:
    """What a person put into it since is in a backup of its own."""
    place, id_ = story.store.where, story.backup.id
    died = from_here(DIES, story.private.socket, place, "WRITE", "data", id_, "folder")
    assert died.returncode == -signal.SIGKILL, died.stderr
    story.client.sweep()
    (mountpoint(story.private, "data") / "mine").write_text("since")
    restored = story.undo()
    assert story.back("data")
    assert restored.saved
    undo(
        restored.saved,
        story.client,
        story.store,
        rename={"data": "since"},
        progress=silent,
        now=NOW,
    )
    assert (mountpoint(story.private, "since") / "mine").read_text() == "since"


def test_store_that_can_only_be_read_is_enough(story: Story) -> None:
    place = story.store.where
    subprocess.run(["mount", "--bind", place, place], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", place], check=True)
        restored = story.undo()
    finally:
        subprocess.run(["umount", place], check=True)
    assert story.back("data")
    (note,) = restored.notes
    assert "can't be written" in note


def test_two_at_once_do_not_write_one_volume(story: Story) -> None:
    with story.store.hold(story.backup.id):
        story.refused("another process")


def test_backup_stays_after_every_undo(story: Story) -> None:
    story.undo()
    kept: Backup = story.store.get(story.backup.id)
    assert kept == story.backup
    for part in kept.parts:
        assert part.file
        assert sum(map(len, story.store.open(kept.id, part.file.name))) == part.file.bytes
