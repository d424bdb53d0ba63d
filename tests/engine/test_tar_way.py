"""The way `tar`: in the volume's own folder, or where an image of its own containers has a GNU tar,
attributes, access control lists and whole times are kept too, and a sparse file costs no time."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import struct
import subprocess
from pathlib import Path

import pytest

from safedocker.backup.store import FolderStore
from safedocker.backup.take import Stage, silent
from safedocker.backup.undo import undo
from safedocker.edge.engine import Engine
from safedocker.errors import NoBackup
from tests.engine.test_round_trip import fill, mountpoint, see
from tests.engine.test_take import NOW, Elsewhere, address, client, elsewhere, keep_all, store
from tests.engines import PrivateEngine

__all__ = ["client", "elsewhere", "store"]  # fixtures

NOBODY = 0xFFFFFFFF


def access(*, other: int) -> bytes:
    """An access control list as the kernel takes it: one more user may read."""
    entries = (
        (1, 6, NOBODY),
        (2, 4, 1234),
        (4, 4, NOBODY),
        (0x10, 4, NOBODY),
        (0x20, other, NOBODY),
    )
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *one) for one in entries)


@pytest.fixture
def gnu(fresh: PrivateEngine, tmp_path: Path) -> str:
    """An image with this machine's GNU tar, and a place where it declares a volume."""
    tree = tmp_path / "image"
    program = shutil.which("tar")
    assert program
    linked = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    for file in (*re.findall(r"(/\S+) \(0x", linked), program):
        there = tree / file.removeprefix("/")
        there.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, there)
    if not (tree / "bin").exists():
        (tree / "bin").symlink_to("usr/bin")
    subprocess.run(["tar", "-C", tree, "-cf", tmp_path / "image.tar", "."], check=True)
    change = ("--change", "VOLUME /data", "--change", 'CMD ["never"]')
    fresh.run("docker", "import", *change, tmp_path / "image.tar", "gnu:latest")
    return "gnu:latest"


def fill_finely(place: Path) -> None:
    """One of everything, and what only tar can tell."""
    fill(place)
    os.setxattr(place / "file", "user.note", b"a\0b\n\xff")
    os.setxattr(place / "file", "system.posix_acl_access", access(other=0))
    os.setxattr(place / "empty-dir", "system.posix_acl_default", access(other=4))
    os.setxattr(place / ("n" * 255), "user.note", b"of a long name")
    (place / "empty-dir/inside").write_text("made in it later, and given no list")
    os.removexattr(place / "empty-dir/inside", "system.posix_acl_access")
    times = ("file", "setuid", "fifo", "level-00", "empty", "n" * 255, "empty-dir")
    for number, name in enumerate(times):
        os.utime(place / name, ns=(1, 1_700_000_000_123_456_789 + number))


def dig(place: Path, size: int) -> None:
    """A file of which there is next to nothing."""
    with (place / "hole").open("wb") as sparse:
        sparse.truncate(size)
        sparse.seek(size // 2)
        sparse.write(b"in the middle")


def see_finely(place: Path) -> dict[str, tuple[int, dict[str, bytes]]]:
    """Whole times and all attributes; the root's time is the mount's."""
    told = {}
    for path in sorted((place, *place.rglob("*"))):
        names = os.listxattr(path, follow_symlinks=False)
        attributes = {name: os.getxattr(path, name, follow_symlinks=False) for name in names}
        mtime = 0 if path == place else path.lstat().st_mtime_ns
        told[str(path.relative_to(place))] = (mtime, attributes)
    return told


@pytest.mark.parametrize("kind", [Engine, Elsewhere], ids=["own-folder", "gnu-tar"])
def test_everything_that_tar_tells_comes_back(
    fresh: PrivateEngine, store: FolderStore, gnu: str, kind: type[Engine]
) -> None:
    own = kind is Engine
    fresh.run("docker", "create", "--name", "one", "-v", "data:/srv", gnu)
    place = mountpoint(fresh, "data")
    fill_finely(place)
    if own:
        os.utime(place / "setuid", ns=(1, -1_500_000_000))
        os.setxattr(place / "setuid", "trusted.note", b"of root alone")
    seen, fine = see(place), see_finely(place)
    size = 1 << 28 if fresh.version == "26" else 1 << 24  # once is enough to wait for
    dig(place, size)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(place / "socket"))
    with contextlib.closing(kind(address(fresh))) as client:
        backup = keep_all(client, store, "data", reserve=0)
    (part,) = backup.parts
    assert part.way == "tar"
    assert part.fine_sha256
    assert part.inventory
    assert part.inventory.bytes > size
    assert backup.stored_bytes < 1 << 20
    assert "sockets" in part.not_kept
    assert backup.version == 3
    assert store.get(backup.id) == backup
    volumes = fresh.run("docker", "volume", "ls", "-q").stdout.split()
    assert len(volumes) == 2, "of the image's own volume the helper made none"
    fresh.run("docker", "rm", "-v", "one")
    fresh.run("docker", "volume", "rm", "data")
    with contextlib.closing(kind(address(fresh))) as client:
        notes = undo(backup, client, store, progress=silent, now=NOW).notes
    assert own == (notes == ())
    assert own or "holes" in notes[0]
    place = mountpoint(fresh, "data")
    with (place / "hole").open("rb") as sparse:
        assert os.fstat(sparse.fileno()).st_size == size
        sparse.seek(size // 2)
        assert sparse.read(13) == b"in the middle"
        assert own == (os.fstat(sparse.fileno()).st_blocks < 100)
    (place / "hole").unlink()
    assert see(place) == seen
    assert see_finely(place) == fine
    assert not fresh.run("docker", "ps", "-aq").stdout


def test_without_such_an_image_it_comes_back_and_says_what_was_not_compared(
    fresh: PrivateEngine, elsewhere: Engine, store: FolderStore, gnu: str
) -> None:
    client = elsewhere
    fresh.run("docker", "create", "--name", "one", "-v", "data:/srv", gnu)
    place = mountpoint(fresh, "data")
    check_tar_notices_who_writes(client, store, place / "big")
    fill(place)
    os.setxattr(place / "file", "user.note", b"kept")
    seen, fine = see(place), see_finely(place)
    backup = keep_all(client, store, "data", reserve=0)
    assert backup.parts[0].way == "tar"
    fresh.run("docker", "rm", "-v", "one")
    fresh.run("docker", "volume", "rm", "data")
    fresh.run("docker", "rmi", gnu)
    client._tarrer._found.clear()
    holes, note = undo(backup, client, store, progress=silent, now=NOW).notes
    assert "holes" in holes
    assert "not compared" in note
    place = mountpoint(fresh, "data")
    assert (see(place), see_finely(place)) == (seen, fine)


def check_tar_notices_who_writes(client: Engine, store: FolderStore, file: Path) -> None:
    """And no stream in which it would not show is taken instead."""
    file.write_bytes(os.urandom(16 << 20))

    def write(stage: Stage, *_: object) -> None:
        if stage is Stage.COPY:
            with file.open("r+b") as written:
                written.write(os.urandom(9))

    with pytest.raises(NoBackup, match=r"something was changed while it was read, twice"):
        keep_all(client, store, "data", progress=write)
    file.unlink()


def test_a_tar_that_fails_is_no_reason_to_have_no_backup(
    fresh: PrivateEngine, elsewhere: Engine, store: FolderStore, gnu: str, tmp_path: Path
) -> None:
    client = elsewhere
    """A program that has the marks of GNU tar and writes no whole archive."""
    (tmp_path / "image/usr/bin").mkdir(parents=True, exist_ok=True)
    program = "#!/bin/sh\n# GNU tar SCHILY.xattr\necho half of it; exit 2\n"
    for folder in ("bin", "usr/bin"):
        path = tmp_path / "broken" / folder / "tar"
        path.parent.mkdir(parents=True)
        path.write_text(program)
        path.chmod(0o755)
    tree = ("tar", "-C", tmp_path / "broken", "-cf", tmp_path / "broken.tar", ".")
    subprocess.run(tree, check=True)
    fresh.run("docker", "import", "--change", 'CMD ["x"]', tmp_path / "broken.tar", "broken:latest")
    fresh.run("docker", "create", "--name", "one", "-v", "data:/srv", "broken:latest")
    fill(mountpoint(fresh, "data"))
    (part,) = keep_all(client, store, "data", reserve=0).parts
    assert part.way == "archive"
    assert part.fine_sha256 == ""
    assert fresh.run("docker", "ps", "-a", "--format", "{{.Names}}").stdout.split() == ["one"]
