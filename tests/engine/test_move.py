"""Volumes that are moved aside on the engine's own disk: through the shim, and back."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from safedocker import install
from safedocker.backup.aside import set_aside
from safedocker.backup.recover import recover
from safedocker.backup.store import FolderStore
from safedocker.backup.take import Calm, keep, silent
from safedocker.backup.ways import Wish
from safedocker.edge.engine import Engine
from safedocker.loss.plan import Protect
from tests.engine.conftest import Shell, until
from tests.engine.test_take import NOW, OCCASION, address, losses
from tests.engines import PrivateEngine

MOVE: dict[str, Any] = {"SAFEDOCKER_MODE": "backup", "SAFEDOCKER_PROTECT": "move"}


def everything(place: Path) -> dict[bytes, tuple[object, ...]]:
    """What a file system tells of a tree: inodes, times to the nanosecond, attributes, holes."""
    told: dict[bytes, tuple[object, ...]] = {}
    names = [os.fsencode(place)]
    names += [
        os.path.join(folder, name)
        for folder, folders, files in os.walk(os.fsencode(place))
        for name in (*folders, *files)
    ]
    for name in names:
        state = os.lstat(name)
        attributes = {
            key: os.getxattr(name, key, follow_symlinks=False)
            for key in os.listxattr(name, follow_symlinks=False)
        }
        content = (
            os.readlink(name)
            if stat.S_ISLNK(state.st_mode)
            else Path(os.fsdecode(name)).read_bytes()
            if stat.S_ISREG(state.st_mode) and state.st_size < 1 << 20
            else b""
        )
        told[os.path.relpath(name, os.fsencode(place))] = (
            *(state.st_ino, state.st_mode, state.st_uid, state.st_gid, state.st_nlink),
            *(state.st_size, state.st_blocks, state.st_mtime_ns, state.st_rdev),
            *(sorted(attributes.items()), content),
        )
    return told


def fill(place: Path) -> None:
    """Everything that a copy may lose."""
    place.chmod(0o2750)
    os.chown(place, 70, 71)
    (place / "file").write_text("kept\n")
    os.link(place / "file", place / "hard link")
    os.symlink("nowhere", place / "symlink")
    os.mkfifo(place / "fifo")
    os.mknod(place / "device", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    with (place / "sparse").open("wb") as file:
        file.truncate(1 << 30)
        file.seek(1 << 29)
        file.write(b"x")
    with open(os.path.join(os.fsencode(place), b"\xff odd\nname"), "wb") as odd:
        odd.write(b"odd")
    os.setxattr(place / "file", "user.note", b"\0kept")
    # An access control list: user::rw-, user 1000:r--, group::r--, mask::r--, other::---
    entries = ((1, 6, -1), (2, 4, 1000), (4, 4, -1), (16, 4, -1), (32, 0, -1))
    acl = (2).to_bytes(4, "little") + b"".join(
        tag.to_bytes(2, "little")
        + bits.to_bytes(2, "little")
        + who.to_bytes(4, "little", signed=who < 0)
        for tag, bits, who in entries
    )
    os.setxattr(place / "file", "system.posix_acl_access", acl)
    with socket.socket(socket.AF_UNIX) as listening:
        here = os.open(place, os.O_RDONLY)
        listening.bind(f"/proc/self/fd/{here}/socket")
        os.close(here)
    os.utime(place / "file", ns=(1, 1_234_567_890_123_456_789))


def made(shell: Shell, name: str = "data") -> Path:
    shell.out(f"docker volume create --label kept=yes {name}")
    return shell.place(name)


def aside(shell: Shell) -> list[Path]:
    return sorted((shell.engine.data_root / "safedocker").glob("*/*/_data"))


@pytest.fixture
def both(engine: PrivateEngine, home: Path) -> Iterator[Shell]:
    yield from opened(engine, home)


@pytest.fixture
def shell(engine26: PrivateEngine, home: Path) -> Iterator[Shell]:
    yield from opened(engine26, home)


def opened(engine: PrivateEngine, home: Path) -> Iterator[Shell]:
    with engine.swept():
        shell = Shell(engine, home)
        yield shell
        until(lambda: not shell.behind())
        shutil.rmtree(engine.data_root / "safedocker", ignore_errors=True)


@pytest.fixture
def unwilling(shell: Shell) -> Shell:
    """A shell whose real docker ends without removing volumes."""
    real = shell.home / ".engine-bin"
    docker = shell.home / "unwilling"
    docker.write_text(
        f'#!/bin/sh\nif [ "$1 $2" = "volume rm" ]; then sleep "${{SLOW:-0}}"; exit 1; fi\n'
        f'exec {real / "docker"} "$@"\n'
    )
    docker.chmod(0o755)
    install.install(shell.home / "shims", str(docker), str(real / "docker-compose"))
    return shell


def test_a_moved_volume_comes_back_with_all_that_a_file_system_knows(both: Shell):
    place = made(both)
    fill(place)
    before, defined = everything(place), both.definition("data")

    done = both.run("docker volume rm data", check=True, **MOVE)

    assert "moved 1 volume" in done.stderr
    assert done.stdout == "data\n"
    assert "data" not in both.volumes()
    both.run("safedocker undo", check=True)
    assert (everything(both.place("data")), both.definition("data")) == (before, defined)
    assert (aside(both), both.helpers()) == ([], [])
    again = both.run("safedocker undo", check=True)
    assert "already there" in again.stdout


def test_what_is_moved_aside_outlives_every_prune_and_the_engine(both: Shell):
    place = made(both)
    (place / "file").write_text("kept")
    both.run("docker volume rm data", check=True, **MOVE)

    everything_unused = "" if both.engine.version == "20" else "-a"
    both.out(f"docker volume prune {everything_unused} -f")
    both.out("docker system prune -a -f --volumes")
    both.engine.image("busybox:latest")
    both.engine.stop(gently=True)
    both.engine.start()

    both.run("safedocker undo", check=True)
    assert (both.place("data") / "file").read_text() == "kept"


def test_auto_copies_what_is_small_and_moves_what_is_not(shell: Shell):
    (made(shell, "small") / "file").write_bytes(b"x" * 100)
    (made(shell, "large") / "file").write_bytes(b"x" * 10_000)
    places: dict[str, Any] = {"SAFEDOCKER_MODE": "backup", "SAFEDOCKER_ARCHIVE_UP_TO": "1000"}

    shell.run("docker volume rm small large", check=True, **places)

    shown = shell.run("safedocker show " + shell.backups()[0], check=True).stdout
    assert "volume-1.tar.zst" in shown or "volume-2.tar.zst" in shown
    (stands,) = aside(shell)
    assert (stands / "file").stat().st_size == 10_000
    shell.run("safedocker undo", check=True)
    assert [(shell.place(name) / "file").stat().st_size for name in ("small", "large")] == [
        100,
        10_000,
    ]


@pytest.fixture
def mirrored(shell26: Shell, tmp_path: Path) -> Iterator[Shell]:
    """An engine without an image, that pulls from a registry where there is busybox."""
    engine = shell26.engine
    rootfs = tmp_path / "rootfs.tar"
    engine.run("docker", "create", "--name", "rootfs", "busybox")
    engine.run("docker", "export", "-o", rootfs, "rootfs")
    engine.run("docker", "rm", "rootfs")
    program = Path(__file__).with_name("registry.py")
    argv = [*engine.inside(), sys.executable, str(program), "5000", "busybox:latest", str(rootfs)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as registry:
        try:
            assert registry.stdout
            assert registry.stdout.readline() == b"ready\n"
            engine.configure({"registry-mirrors": ["http://127.0.0.1:5000"]})
            engine.run("docker", "image", "rm", "-f", *images(engine))
            yield shell26
        finally:
            registry.kill()
            engine.configure({"registry-mirrors": []})
            # The one that was pulled has the name of the one that was there.
            engine.run("docker", "image", "rm", "-f", *images(engine), check=False)
            for image in ("busybox:latest", "busybox-volume:latest"):
                engine.image(image)


def test_an_image_is_pulled_for_it_where_there_is_none_and_only_if_that_is_allowed(
    mirrored: Shell,
) -> None:
    shell = mirrored
    (made(shell) / "file").write_text("kept")
    asked = shell.run("docker volume rm data", **MOVE)
    assert asked.returncode == 73
    assert "SAFEDOCKER_PULL=helper" in asked.stderr
    assert images(shell.engine) == []
    done = shell.run("docker volume rm data", check=True, SAFEDOCKER_PULL="helper", **MOVE)
    assert "pulled busybox:latest" in done.stderr
    assert shell.volumes() == set()
    until(lambda: not shell.behind())
    shell.run("safedocker undo", check=True)
    assert (shell.place("data") / "file").read_text() == "kept"


def test_where_no_image_can_move_it_is_copied_instead(shell: Shell):
    (made(shell) / "file").write_text("kept")
    shell.engine.run("docker", "image", "rm", "-f", *images(shell.engine))
    try:
        asked = shell.run("docker volume rm data", **MOVE)
        assert asked.returncode == 73
        assert "no image on the engine can move" in asked.stderr
        assert (shell.place("data") / "file").read_text() == "kept"

        auto = {**MOVE, "SAFEDOCKER_PROTECT": "auto", "SAFEDOCKER_ARCHIVE_UP_TO": "0"}
        shell.run("docker volume rm data", check=True, **auto)
        assert aside(shell) == []
        shell.run("safedocker undo", check=True)
        assert (shell.place("data") / "file").read_text() == "kept"
    finally:
        shell.engine.image("busybox:latest")
        shell.engine.image("busybox-volume:latest")


def images(engine: PrivateEngine) -> list[str]:
    return sorted(set(engine.run("docker", "images", "-q").stdout.split()))


def test_a_volume_that_the_command_leaves_has_its_contents_again(unwilling: Shell):
    place = made(unwilling)
    (place / "file").write_text("kept")

    done = unwilling.run("docker volume rm data", **MOVE)

    assert done.returncode == 1
    until(lambda: (place / "file").exists())
    assert (place / "file").read_text() == "kept"
    until(lambda: not unwilling.behind())
    assert not list((unwilling.engine.data_root / "safedocker").glob("*"))
    assert "undone" in unwilling.run("safedocker backups", check=True).stdout
    assert unwilling.helpers() == []


def test_while_a_volume_is_moved_no_container_takes_it_for_an_empty_one(unwilling: Shell):
    place = made(unwilling)
    (place / "file").write_text("kept")
    command = unwilling.begin("docker volume rm data", **MOVE, SLOW="3")
    until(lambda: bool(aside(unwilling)))

    started = unwilling.run("docker run --rm -v data:/x busybox ls /x", real=True)

    assert started.returncode != 0
    assert "no such file" in started.stderr
    command.ended()
    until(lambda: (place / "file").exists())


def test_what_stays_behind_may_be_killed_too(unwilling: Shell):
    place = made(unwilling)
    (place / "file").write_text("kept")
    command = unwilling.begin("docker volume rm data", **MOVE, SLOW="3")
    until(lambda: bool(unwilling.behind()))
    for pid in unwilling.behind():
        os.kill(pid, signal.SIGKILL)
    command.ended()
    assert not place.exists()

    told = unwilling.run("docker volume rm other", **MOVE)

    assert "did not remove data" in told.stderr
    assert (place / "file").read_text() == "kept"


def test_a_moved_volume_may_come_back_beside_the_one_there_is_now(shell: Shell):
    (made(shell) / "file").write_text("old")
    shell.run("docker volume rm data", check=True, **MOVE)
    (made(shell) / "file").write_text("new")

    refused = shell.run("safedocker undo")
    assert refused.returncode == 1
    assert "--as" in refused.stderr
    shell.run("safedocker undo --as older", check=True)
    assert shell.audit()[-1]["outcome"] == "put back older"

    assert (shell.place("data") / "file").read_text() == "new"
    assert (shell.place("older") / "file").read_text() == "old"
    again = shell.run("safedocker undo", check=True)
    assert "older (was data): already there" in again.stdout
    other = shell.run("safedocker undo --as third")
    assert other.returncode == 1
    assert "safedocker clone older third" in other.stderr
    assert (shell.place("data") / "file").read_text() == "new"


def test_what_replaces_a_volume_is_kept_from_it(shell: Shell):
    (made(shell) / "file").write_text("old")
    shell.run("docker volume rm data", check=True, **MOVE)
    (made(shell) / "file").write_text("new")

    done = shell.run("safedocker undo --overwrite", check=True)

    assert (shell.place("data") / "file").read_text() == "old"
    saved = done.stdout.rpartition("is in the backup ")[2].split()[0]
    shell.run(f"safedocker undo {saved} --as newer", check=True)
    assert (shell.place("newer") / "file").read_text() == "new"


def test_what_stands_aside_is_listed(shell: Shell):
    (made(shell) / "file").write_bytes(b"x" * 100_000)
    assert "nothing stands aside" in shell.run("safedocker aside", check=True).stdout
    shell.run("docker volume rm data", check=True, **MOVE)

    listed = shell.run("safedocker aside", check=True).stdout

    (id_,) = shell.backups()
    (line,) = [line for line in listed.splitlines() if id_ in line]
    assert line.split()[1] == "data"
    assert "yours" in line
    shell.run("safedocker undo", check=True)
    tried = shell.run("safedocker drill", check=True).stdout
    assert "it is in the volume again" in tried
    assert "is in it again: there is nothing to compare" in shell.run("safedocker diff").stderr


def test_a_person_chooses_between_the_ways(shell: Shell):
    (made(shell) / "file").write_bytes(b"x" * 10_000)
    screen = shell.terminal("docker volume rm data", SAFEDOCKER_ARCHIVE_UP_TO="1000").asked()
    assert "moved aside on the engine's disk, which frees no room" in screen.text
    assert screen.wait("copied into the store").type("7\r").ended() == 0

    assert "backed up 1 volume" in screen.text
    assert aside(shell) == []
    shell.run("safedocker undo", check=True)
    assert (shell.place("data") / "file").stat().st_size == 10_000


def test_killed_at_any_moment_the_contents_are_where_they_were_or_can_be_had_again(shell: Shell):
    """The shim is killed with -9 at many moments; either the command ran, or it did not."""
    for delay in (0.3, 0.5, 0.6, 0.7, 0.9):
        (made(shell) / "file").write_text("kept")
        command = shell.begin("docker volume rm data", **MOVE)
        time.sleep(delay)
        command.send(signal.SIGKILL).ended()
        until(lambda: not shell.behind())

        shell.run("docker volume rm other", **MOVE)  # the next run puts right what was left
        if "data" not in shell.volumes():
            shell.run("safedocker undo", check=True)

        assert (shell.place("data") / "file").read_text() == "kept", delay
        shell.run("docker volume rm data", check=True, **MOVE)


def test_what_is_aside_and_is_not_what_was_moved_there_is_never_removed(shell: Shell) -> None:
    place = made(shell)
    (place / "rows").write_text("moved")
    store = FolderStore(shell.store)
    with contextlib.closing(Engine(address(shell.engine))) as engine:
        wish = Wish(Protect.MOVE)
        backup = keep(
            *(losses(engine, "data"), Calm(), engine, store, OCCASION, silent, NOW), wish=wish
        )
        store.note_moving(backup.id)
        set_aside(engine, backup.places)
        (there,) = aside(shell)
        there.rename(there.with_name("first"))
        there.mkdir()
        (there / "rows").write_text("another's")
        (found,) = store.sweep()
        (note,) = recover(found, engine, store)
    assert str(there) in note
    assert (there / "rows").read_text() == "another's"
    assert shell.backups() == [backup.id]
    shutil.rmtree(there.parent)
