"""Fill, back up, destroy with the real docker, undo, compare: for every way there is."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import NamedTuple

import pytest

from safedocker.backup.inventory import Inventory
from safedocker.backup.refill import Step
from safedocker.backup.store import FolderStore
from safedocker.backup.take import Calm, keep, silent
from safedocker.backup.undo import undo
from safedocker.backup.ways import WAYS
from safedocker.edge.engine import Engine
from safedocker.loss.facts import Holds
from safedocker.loss.plan import Kind, Loss
from tests.engine.test_take import NOW, OCCASION, address, client, elsewhere, keep_all, store
from tests.engines import PrivateEngine

pytestmark = pytest.mark.engine
__all__ = ["client", "elsewhere", "store"]  # fixtures

CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")


class Seen(NamedTuple):
    """What a file system says of one name."""

    mode: int
    uid: int
    gid: int
    mtime: int
    device: int
    names: int
    contents: bytes
    capability: bytes


def see(place: Path) -> dict[bytes, Seen]:
    found = {}
    for path in (place, *place.rglob("*")):
        said = path.lstat()
        kind = stat.S_IFMT(said.st_mode)
        if kind == stat.S_IFSOCK:
            continue
        contents = b""
        if kind == stat.S_IFREG:
            contents = path.read_bytes()
        elif kind == stat.S_IFLNK:
            contents = os.fsencode(path.readlink())
        capability = b""
        if "security.capability" in os.listxattr(path, follow_symlinks=False):
            capability = os.getxattr(path, "security.capability")
        found[os.fsencode(path.relative_to(place))] = Seen(
            said.st_mode,
            said.st_uid,
            said.st_gid,
            0 if path == place else int(said.st_mtime),
            said.st_rdev,
            1 if kind == stat.S_IFDIR else said.st_nlink,
            contents,
            capability,
        )
    return found


def fill(place: Path) -> None:
    """Put one of everything into a volume that an archive can keep."""
    (place / "file").write_text("contents")
    os.link(place / "file", place / "same")
    (place / "link").symlink_to("file")
    (place / "far").symlink_to("/" + "far/" * 60)
    (place / "nowhere").symlink_to("../../../outside")
    os.mkfifo(place / "fifo")
    os.mknod(place / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    os.mknod(place / "disk", 0o660 | stat.S_IFBLK, os.makedev(7, 300))
    Path(os.fsdecode(os.fsencode(place) + b"/\xff\xfe\nodd")).write_bytes(b"x")
    (place / "späce and ü").write_text("u")
    (place / ("n" * 255)).write_bytes(os.urandom(5000))
    (place / "empty").write_bytes(b"")
    (place / "empty-dir").mkdir()
    (place / "empty-dir").chmod(0o1777)
    (place / "setuid").write_bytes(b"#!")
    os.chown(place / "setuid", 12_345_678, 3_000_000)
    (place / "setuid").chmod(0o6751)
    os.setxattr(place / "file", "security.capability", CAPABILITY)
    with (place / "sparse").open("wb") as sparse:
        sparse.truncate(20 << 20)
        sparse.seek(10 << 20)
        sparse.write(b"in the middle")
    deep = place
    for level in range(40):
        deep /= f"level-{level:02}"
    deep.mkdir(parents=True)
    (deep / "leaf").write_text("leaf")
    os.utime(place / "file", (1, 1_234_567_890))
    os.utime(place / "link", (1, 1_034_567_890), follow_symlinks=False)
    os.utime(place / "level-00", (1, 1_134_567_890))
    (place / "denied").write_text("nobody reads")
    (place / "denied").chmod(0)
    os.chown(place, 999, 998)
    place.chmod(0o2700)


def mountpoint(private: PrivateEngine, name: str) -> Path:
    argv = ("docker", "volume", "inspect", "-f", "{{.Mountpoint}}", name)
    return Path(private.run(*argv).stdout.strip())


def options_of(name: str, elsewhere: Path) -> tuple[str, ...]:
    """The driver options of a volume that the way of this name is for."""
    if name == "definition":
        return ("--opt", "type=none", "--opt", "o=bind", "--opt", f"device={elsewhere}")
    return ()


# The others have files of their own: test_move.py, test_tar_way.py, test_dumps.py.
COPIES = [way for way in WAYS if way.name not in {"move", "tar", "dump"}]


@pytest.mark.parametrize("way", COPIES, ids=lambda way: way.name)
def test_volume_comes_back_as_it_was(
    fresh: PrivateEngine, elsewhere: Engine, store: FolderStore, tmp_path: Path, way: object
) -> None:
    client = elsewhere
    row = next(one for one in WAYS if one is way)
    (tmp_path / "elsewhere").mkdir()
    options = options_of(row.name, tmp_path / "elsewhere")
    labels = ("--label", "com.example.note=ü b=c", "--label", "empty=")
    fresh.run("docker", "volume", "create", *options, *labels, "data")
    before = client.volume("data")
    assert before
    place = tmp_path / "elsewhere" if options else Path(before.mountpoint)
    fill(place)
    seen = see(place)
    holds = Holds.ELSEWHERE if before.elsewhere else Holds.DATA
    loss = Loss(Kind.NAMED_VOLUME, "data", before, "named", holds=holds)
    backup = keep((loss,), Calm(), client, store, OCCASION, silent, NOW, reserve=0)
    (part,) = backup.parts
    assert part.way == row.name
    assert part.not_kept
    fresh.run("docker", "volume", "rm", "data")
    restored = undo(backup, client, store, progress=silent, now=NOW)
    assert [(one.name, one.step) for one in restored.parts] == [("data", Step.CREATE)]
    after = client.volume("data")
    assert after
    assert (after.driver, after.options, after.labels) == (
        before.driver,
        before.options,
        before.labels,
    )
    assert see(place) == seen
    again = undo(backup, client, store, progress=silent, now=NOW)
    assert [one.step for one in again.parts] == [Step.NOTHING]
    assert not fresh.run("docker", "ps", "-aq", "-f", "label=com.safedocker.helper").stdout


def test_archive_says_what_it_does_not_keep_and_keeps_the_rest(
    fresh: PrivateEngine, elsewhere: Engine, store: FolderStore
) -> None:
    client = elsewhere
    fresh.run("docker", "volume", "create", "data")
    place = mountpoint(fresh, "data")
    (place / "file").write_text("contents")
    os.setxattr(place / "file", "user.note", b"lost")
    os.utime(place / "file", (1, -100.5))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(place / "socket"))
    volume = client.volume("data")
    assert volume
    loss = Loss(Kind.NAMED_VOLUME, "data", volume, "named")
    backup = keep((loss,), Calm(), client, store, OCCASION, silent, NOW, reserve=0)
    (part,) = backup.parts
    assert isinstance(part.inventory, Inventory)
    assert part.inventory.entries == 2
    lost = " ".join(part.not_kept)
    assert all(word in lost for word in ("extended attributes", "sockets", "before 1970"))
    fresh.run("docker", "volume", "rm", "data")
    undo(backup, client, store, progress=silent, now=NOW)
    assert (mountpoint(fresh, "data") / "file").read_text() == "contents"


def test_anonymous_volume_comes_back_under_its_own_name(
    fresh: PrivateEngine, client: Engine, store: FolderStore
) -> None:
    fresh.run(
        "docker", "run", "--name", "one", "-v", "/data", "busybox", "sh", "-c", "echo 1 >/data/f"
    )
    name = fresh.run("docker", "volume", "ls", "-q").stdout.strip()
    before = client.volume(name)
    assert before
    seen = see(Path(before.mountpoint))
    loss = Loss(Kind.ANONYMOUS_VOLUME, name, before, "anonymous volume of one")
    backup = keep((loss,), Calm(), client, store, OCCASION, silent, NOW, reserve=0)
    fresh.run("docker", "rm", "-v", "one")
    assert not fresh.run("docker", "volume", "ls", "-q").stdout
    undo(backup, client, store, progress=silent, now=NOW)
    after = client.volume(name)
    assert after
    assert after.labels == before.labels
    assert see(Path(after.mountpoint)) == seen
    argv = ("docker", "run", "--rm", "-v", f"{name}:/d", "busybox", "cat", "/d/f")
    assert fresh.run(*argv).stdout == "1\n"


def test_backup_of_one_engine_goes_onto_another(
    engine20: PrivateEngine, engine26: PrivateEngine, store: FolderStore
) -> None:
    with (
        engine20.swept(),
        engine26.swept(),
        Engine(address(engine20)) as old,
        Engine(address(engine26)) as new,
    ):
        engine20.run("docker", "volume", "create", "--label", "a=b", "data")
        fill(mountpoint(engine20, "data"))
        seen = see(mountpoint(engine20, "data"))
        backup = keep_all(old, store, "data", reserve=0)
        undo(backup, new, store, any_engine=True, progress=silent, now=NOW)
        assert see(mountpoint(engine26, "data")) == seen
