"""What a process of this machine does to a volume's folder while it is read is noticed; the folder
may be of any depth; and what is left out of a copy is named."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from safedocker.backup import contents, filling, folder
from safedocker.backup.flags import Flags
from safedocker.backup.inventory import TreeReader
from safedocker.backup.walk import unreadable
from safedocker.edge.look import Tally, walk_folder
from safedocker.errors import Changed, NoBackup, NoWayRound
from tests.pure.test_folder import nothing, opened, whole

PIECE = 1 << 20


@pytest.fixture
def source(tmp_path: Path) -> Path:
    place = tmp_path / "source"
    (place / "b/c").mkdir(parents=True)
    (place / "a").write_bytes(os.urandom(3 * PIECE))
    (place / "b/c/d").write_bytes(os.urandom(2 * PIECE))
    (place / "b/e").write_text("here")
    (place / "z").write_bytes(os.urandom(3 * PIECE))
    (place / "link").symlink_to("a")
    return place


def write_into(file: Path) -> None:
    """As a database does: in place, and as long as it was."""
    with file.open("r+b") as stream:
        stream.write(b"another row")


def exchange(link: Path) -> None:
    link.unlink()
    link.symlink_to("z")


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a file that was read already": (lambda place: write_into(place / "a"), "a"),
    "a file that is read later": (lambda place: write_into(place / "z"), "z"),
    "a file that grows": (lambda place: os.truncate(place / "b/e", 5), "b/e"),
    "a new file": (lambda place: (place / "b/new").touch(), "b"),
    "a new file beside all": (lambda place: (place / "new").touch(), "the volume's folder"),
    "a file that goes": (lambda place: (place / "b/e").unlink(), "b(/e)?"),
    "a file that goes before it is read": (lambda place: (place / "z").unlink(), "z"),
    "a folder that goes before it is read": (lambda place: shutil.rmtree(place / "b/c"), "b.*"),
    "a file for another one": (lambda place: (place / "b/e").rename(place / "z"), "b(/e)?"),
    "a mode": (lambda place: (place / "a").chmod(0o600), "a"),
    "an attribute": (lambda place: os.setxattr(place / "b/c", "user.x", b"y"), "b/c"),
    "a link": (lambda place: exchange(place / "link"), "link"),
}


@pytest.mark.parametrize(("change", "where"), CHANGES.values(), ids=CHANGES)
def test_what_changes_while_it_is_read_is_named_and_no_copy(
    source: Path, change: Callable[[Path], object], where: str
) -> None:
    pieces = folder.read(opened(source), Flags())
    for _piece in range(4):  # a is read, and b/c/d is begun
        next(pieces)
    change(source)
    with pytest.raises(Changed, match=rf"^({where}|the volume's folder) was changed"):
        list(pieces)


def test_who_only_reads_changes_nothing(source: Path) -> None:
    os.utime(source / "a", (0, (source / "a").stat().st_mtime))  # so that the next read is noted
    (source / "b/c/d").read_bytes()
    pieces = folder.read(opened(source), Flags())
    next(pieces)
    before = (source / "a").stat().st_atime_ns
    for path in source.rglob("*"):
        path.read_bytes() if path.is_file() else list(path.iterdir())
    list(pieces)
    assert (source / "a").stat().st_atime_ns >= before


def test_file_that_goes_while_it_is_looked_through_is_a_change(source: Path) -> None:
    for number in range(100):  # more than are open at the same time
        (source / f"f{number:02}").write_text("small")
    with pytest.raises(Changed, match=r"^z was changed"):
        folder.look_through(opened(source), lambda _done: (source / "z").unlink(missing_ok=True))


@pytest.fixture
def few_files() -> Iterator[None]:
    """As few files may be open as a careful machine allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (160, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    """A folder 300 deep, with something before and behind the next one at every level."""
    place = tmp_path / "deep"
    (place / "top").mkdir(parents=True)
    (place / "target").mkdir()
    inner = opened(place / "top")
    for level in range(300):
        for name in ("b", "f"):
            with open(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=inner), "w") as file:
                file.write(f"{level}")
        os.mkdir("d", dir_fd=inner)
        deeper = os.open("d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=inner)
        os.close(inner)
        inner = deeper
    os.close(inner)
    return place


@pytest.mark.usefixtures("few_files")
def test_a_folder_of_any_depth_is_copied_and_filled(deep: Path) -> None:
    reader = TreeReader(fine=True)
    stream = whole(deep / "top")
    reader.feed(stream)
    held = reader.finish()
    assert (held.directories, held.files) == (301, 600)
    assert (held, reader.fine()) == folder.inspect(opened(deep / "top"), nothing, {})
    filling.fill(opened(deep / "target"), [stream], nothing)
    assert (held, reader.fine()) == folder.inspect(opened(deep / "target"), nothing, {})


def test_a_folder_too_deep_to_be_looked_through_is_not_taken_for_a_small_one(deep: Path) -> None:
    tally = Tally()
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(250)  # as 1000 would end it at a depth that few can remove again
    try:
        walk_folder(opened(deep / "top"), tally, lambda: True)
    finally:
        sys.setrecursionlimit(limit)
    assert not tally.whole
    assert tally.entries


def test_a_name_of_an_attribute_may_hold_anything(source: Path, tmp_path: Path) -> None:
    names = ("user.a=b", "user.100%", "user.%3D", "user.%25=", "user.==")
    for name in names:
        os.setxattr(source / "b/e", name, name.encode() + b"=\n\0")
    target = tmp_path / "target"
    target.mkdir()
    stream = whole(source)
    filling.fill(opened(target), [stream], nothing)
    assert {one: os.getxattr(target / "b/e", one) for one in os.listxattr(target / "b/e")} == {
        name: name.encode() + b"=\n\0" for name in names
    }
    reader = TreeReader(fine=True)
    reader.feed(stream)
    assert (reader.finish(), reader.fine()) == folder.inspect(opened(target), nothing, {})


GET_FLAGS, SET_FLAGS = 0x80086601, 0x40086602
IMMUTABLE, APPEND, NODUMP = 0x10, 0x20, 0x40


@pytest.fixture
def flagged(source: Path) -> Iterator[Path]:
    """With flags that nobody inherits, as far as one may set them."""
    flags = {"a": IMMUTABLE, "b/e": IMMUTABLE | NODUMP, "b/c": APPEND}

    def change(path: str, add: int, take: int) -> None:
        file = os.open(source / path, os.O_RDONLY)
        try:
            (now,) = struct.unpack("l", fcntl.ioctl(file, GET_FLAGS, bytes(struct.calcsize("l"))))
            fcntl.ioctl(file, SET_FLAGS, struct.pack("l", now & ~take | add))
        finally:
            os.close(file)

    try:
        for path, flag in flags.items():
            change(path, flag, 0)
    except OSError as reason:
        pytest.skip(f"no flags can be set here: {reason}")
    yield source
    for path, flag in flags.items():
        change(path, 0, flag)


def test_flags_that_no_archive_keeps_are_named(flagged: Path) -> None:
    kept = contents.of_folder(opened(flagged))
    list(kept.pieces)
    assert [one for one in kept.left_out() if "flag" in one] == [
        "the file flag append-only of b/c",
        "the file flag immutable of 2 files, the first of them a",
        "the file flag nodump of b/e",
    ]


def test_of_a_folder_without_flags_none_is_named(source: Path) -> None:
    kept = contents.of_folder(opened(source))
    list(kept.pieces)
    assert kept.left_out() == kept.not_kept
    assert not [one for one in kept.left_out() if "flag" in one]


def test_gnu_tar_spells_attributes_the_same(source: Path) -> None:
    for name in ("user.a=b", "user.100%", "user.%3D"):
        os.setxattr(source / "b/e", name, b"=")
    argv = ("tar", "-C", source.parent, "-cf-", "--format=posix", "--sort=name", "--xattrs")
    packed = subprocess.run([*argv, source.name], capture_output=True, check=True).stdout
    reader = TreeReader(fine=True)
    reader.feed(packed)
    assert (reader.finish(), reader.fine()) == folder.inspect(opened(source), nothing, {})


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EIO, NoWayRound),  # the engine would leave it out without a word
        (errno.EUCLEAN, NoWayRound),
        (errno.EACCES, NoBackup),
        (errno.EMFILE, NoBackup),
        (errno.ENOENT, Changed),
        (errno.ENODATA, Changed),
    ],
)
def test_only_what_we_alone_can_not_read_is_left_to_the_engine(
    number: int, kind: type[NoBackup]
) -> None:
    fault = unreadable(b"a/b", OSError(number, os.strerror(number)))
    assert type(fault) is kind
    assert fault.message.startswith("a/b ")
