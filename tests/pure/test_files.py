"""A file that is given its name replaces none that came meanwhile, whatever the disk can do."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from safedocker.backup.exchange import write_file
from safedocker.errors import SafedockerError


def no_links(*_words: object, **_more: object) -> None:
    raise OSError(errno.EPERM, "no second names here")


@pytest.fixture(params=["all", "no nameless files", "no links either"])
def disk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder on a disk that can do less and less, as NFS, FAT and FUSE."""
    if request.param != "all":
        monkeypatch.setattr(os, "O_TMPFILE", 0)
    if request.param == "no links either":
        monkeypatch.setattr(os, "link", no_links)
    return tmp_path


def test_a_file_is_whole_and_alone(disk: Path) -> None:
    write_file(disk / "x.tar", iter([b"all", b" of it"]))
    assert (disk / "x.tar").read_bytes() == b"all of it"
    assert [path.name for path in disk.iterdir()] == ["x.tar"]


def test_a_file_that_came_meanwhile_stays(disk: Path) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"ours"
        (disk / "x.tar").write_bytes(b"theirs")

    with pytest.raises(SafedockerError, match="is there already"):
        write_file(disk / "x.tar", pieces())
    assert (disk / "x.tar").read_bytes() == b"theirs"
    assert [path.name for path in disk.iterdir()] == ["x.tar"]
