"""What is written is read back from the disk while the rest is still to come."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from safedocker.backup.files import write_file

PIECE = os.urandom(1 << 20)
SOON = 30.0  # seconds; a fault only


def test_all_of_it_is_read_in_order(tmp_path: Path) -> None:
    read = bytearray()

    def check(stored: Iterator[bytes]) -> None:
        for piece in stored:
            read.extend(piece)

    written = write_file(tmp_path / "file", (PIECE for _ in range(20)), check)
    assert written == 20 << 20
    assert bytes(read) == PIECE * 20
    assert (tmp_path / "file").read_bytes() == PIECE * 20


def test_reading_does_not_wait_for_the_end(tmp_path: Path) -> None:
    begun = threading.Event()

    def pieces() -> Iterator[bytes]:
        for _ in range(20):
            yield PIECE
        assert begun.wait(SOON), "nothing was read until the end"
        yield PIECE

    def check(stored: Iterator[bytes]) -> None:
        for _piece in stored:
            begun.set()

    write_file(tmp_path / "file", pieces(), check)


def test_what_the_check_finds_ends_the_writing_and_leaves_no_file(tmp_path: Path) -> None:
    asked = 0

    def pieces() -> Iterator[bytes]:
        nonlocal asked
        while True:
            asked += 1
            assert asked < 1000, "the writing went on"
            yield PIECE

    def check(stored: Iterator[bytes]) -> None:
        next(stored)
        raise ValueError("it is another one")

    with pytest.raises(ValueError, match="another one"):
        write_file(tmp_path / "file", pieces(), check)
    assert not list(tmp_path.iterdir())


def test_a_fault_of_the_writing_ends_the_check(tmp_path: Path) -> None:
    ended = threading.Event()

    def pieces() -> Iterator[bytes]:
        yield from [PIECE] * 20
        raise OSError("no room")

    def check(stored: Iterator[bytes]) -> None:
        try:
            for _piece in stored:
                pass
        finally:
            ended.set()

    with pytest.raises(OSError, match="no room"):
        write_file(tmp_path / "file", pieces(), check)
    assert ended.is_set(), "the thread is left behind"
    assert not list(tmp_path.iterdir())
