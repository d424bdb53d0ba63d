"""A folder as a tar stream, and back: the same to the last attribute; no name leads out of it."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from safedocker.backup import filling, folder
from safedocker.backup.contents import check_unchanged, check_written
from safedocker.backup.digests import key_of
from safedocker.backup.flags import Flags
from safedocker.backup.inventory import BadArchive, TreeReader
from safedocker.backup.manifest import Stored
from safedocker.backup.zst import ahead, pack
from safedocker.errors import NoBackup


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Of everything that a person without rights can make."""
    place = tmp_path / "source"
    (place / "a").mkdir(parents=True)
    (place / "a/deep").mkdir()
    (place / "a/deep/file").write_bytes(os.urandom(3_000_000))
    (place / "a-b").write_text("comes after what is in a")
    os.link(place / "a/deep/file", place / "same")
    (place / "link").symlink_to("/nowhere")
    (place / ("n" * 200)).write_text("a long name")
    (place / os.fsdecode(b"\xff\nodd")).write_text("x")
    os.mkfifo(place / "fifo")
    with (place / "sparse").open("wb") as sparse:
        sparse.seek(5 << 20)
        sparse.write(b"in the middle")
        sparse.truncate(9 << 20)
    (place / "hole").touch()
    os.truncate(place / "hole", 1 << 27)
    for number, name in enumerate(("a/deep/file", "fifo", "a", "sparse")):
        os.utime(place / name, ns=(0, -1_500_000_000 + number * 10**18 + number))
    os.utime(place / "link", ns=(0, 1_000_000_001), follow_symlinks=False)
    os.setxattr(place / "a-b", "user.note", b"a\0b\n")
    (place / "a").chmod(0o750)
    return place


@pytest.fixture
def target(tmp_path: Path) -> Path:
    place = tmp_path / "target"
    place.mkdir()
    return place


def opened(place: Path) -> int:
    return os.open(place, os.O_RDONLY | os.O_DIRECTORY)


def whole(place: Path) -> bytes:
    return b"".join(map(bytes, folder.read(opened(place), Flags())))


def nothing(_done: int) -> None:
    return


def test_stream_tells_what_the_folder_holds(source: Path) -> None:
    reader = TreeReader(fine=True)
    stream = whole(source)
    reader.feed(stream)
    assert (reader.finish(), reader.fine()) == folder.inspect(opened(source), nothing, {})
    assert len(stream) < 4 << 20, "holes are not sent"
    with tarfile.open(fileobj=io.BytesIO(stream)) as archive:
        assert {one.name for one in archive} >= {"volume", "volume/a/deep/file", "volume/sparse"}


@pytest.mark.parametrize("size", [1000, 1 << 20])
def test_filled_folder_holds_the_same(source: Path, target: Path, size: int) -> None:
    stream = whole(source)
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    known = filling.fill(opened(target), pieces, nothing)
    held = folder.inspect(opened(source), nothing, {})
    assert folder.inspect(opened(target), nothing, {}) == held
    assert folder.inspect(opened(target), nothing, known) == held
    assert (target / "hole").stat().st_blocks == 0
    assert (target / "same").stat().st_nlink == 2
    assert (target / "a").stat().st_mtime_ns == (source / "a").stat().st_mtime_ns


def test_what_is_known_of_a_file_holds_until_it_is_changed(source: Path, target: Path) -> None:
    known = filling.fill(opened(target), [whole(source)], nothing)
    file = target / "sparse"
    assert key_of(file.stat()) in known
    before = file.stat()
    time.sleep(0.05)  # the kernel's clock goes in steps
    with file.open("r+b") as changed:
        changed.write(b"!")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    held = folder.inspect(opened(source), nothing, {})[0]
    assert folder.inspect(opened(target), nothing, known)[0] != held


def archive(*members: tuple[str, bytes, str]) -> bytes:
    """A tar of names with their types and links; each file holds its own name."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, kind, link in (("volume", tarfile.DIRTYPE, ""), *members):
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.mode = kind, link, 0o755
            info.uid, info.gid = os.getuid(), os.getgid()
            info.size = len(name) if kind == tarfile.REGTYPE else 0
            tar.addfile(info, io.BytesIO(name.encode()) if info.size else None)
    return out.getvalue()


FILE, LINK, HARD, FOLDER = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE
HOSTILE = {
    "above": (("volume/../escaped", FILE, ""),),
    "above in the middle": (("volume/a", FOLDER, ""), ("volume/a/../../escaped", FILE, "")),
    "through a link": (("volume/out", LINK, ".."), ("volume/out/escaped", FILE, "")),
    "over a link": (("volume/out", LINK, "../escaped"), ("volume/out", FILE, "")),
    "a folder that is a link": (("volume/out", LINK, "../other"), ("volume/out", FOLDER, "")),
    "a name of what is outside": (("volume/mine", HARD, "volume/../other/kept"),),
    "a name through a link": (
        ("volume/out", LINK, "../other"),
        ("volume/mine", HARD, "volume/out/kept"),
    ),
}


@pytest.mark.parametrize("members", HOSTILE.values(), ids=HOSTILE)
def test_no_stream_leads_out_of_the_folder(
    target: Path, members: tuple[tuple[str, bytes, str], ...]
) -> None:
    other = target.parent / "other"
    other.mkdir()
    (other / "kept").write_text("as it was")
    before = other.stat().st_mode, (other / "kept").stat().st_nlink
    with pytest.raises((BadArchive, OSError)):
        filling.fill(opened(target), [archive(*members)], nothing)
    assert not (target.parent / "escaped").exists()
    assert (other.stat().st_mode, (other / "kept").stat().st_nlink) == before
    assert sorted(path.name for path in other.iterdir()) == ["kept"]


def test_cut_stream_is_not_taken_for_a_whole_one(source: Path, target: Path) -> None:
    with pytest.raises(BadArchive, match="cut short"):
        filling.fill(opened(target), [whole(source)[:-700]], nothing)


def test_file_that_becomes_shorter_is_no_copy(source: Path) -> None:
    pieces = folder.read(opened(source), Flags())
    next(pieces)
    os.truncate(source / "a/deep/file", 10)
    with pytest.raises(NoBackup, match="a/deep/file was changed"):
        list(pieces)


def stored(data: bytes) -> tuple[bytes, Stored]:
    packed = b"".join(pack([data], lambda _piece: None))
    return packed, Stored("volume-1.tar.zst", len(packed), hashlib.sha256(packed).hexdigest())


ROTTEN: dict[str, Callable[[bytes], bytes]] = {
    "a bit": lambda packed: packed[:500] + bytes([packed[500] ^ 1]) + packed[501:],
    "cut short": lambda packed: packed[:-3],
    "something behind": lambda packed: packed + b"\0",
    "empty": lambda _packed: b"",
}


@pytest.mark.parametrize("change", ROTTEN.values(), ids=ROTTEN)
def test_file_that_is_not_what_was_written_is_found(change: Callable[[bytes], bytes]) -> None:
    data = os.urandom(5000)
    packed, file = stored(data)
    check_written([packed], lambda: (file, len(data)), nothing)
    check_unchanged([packed], file, nothing)
    with pytest.raises(BadArchive):
        check_written([change(packed)], lambda: (file, len(data)), nothing)
    with pytest.raises(BadArchive):
        check_unchanged([change(packed)], file, nothing)


def test_file_that_unpacks_to_less_than_was_packed_is_found() -> None:
    packed, file = stored(b"half of it")
    with pytest.raises(BadArchive, match="were written"):
        check_written([packed], lambda: (file, 20), nothing)


def test_what_is_made_ahead_comes_in_order_and_its_fault_at_its_place() -> None:
    def pieces() -> Iterator[bytes]:
        for number in range(20):
            yield b"%d" % number
        raise NoBackup("the end")

    seen: list[bytes] = []
    with pytest.raises(NoBackup, match="the end"):
        seen.extend(ahead(pieces()))
    assert seen == [b"%d" % number for number in range(20)]


def test_what_nobody_asks_for_any_more_is_not_made() -> None:
    made = []

    def pieces() -> Iterator[bytes]:
        for number in range(10_000):
            made.append(number)
            yield b"x"

    with contextlib.closing(ahead(pieces())) as running:
        next(running)
    assert len(made) < 100
