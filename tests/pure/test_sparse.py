"""Sparse files as GNU tar packs them count as what they stand for, and damaged maps are refused."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safedocker.backup.inventory import Inventory, TreeReader
from safedocker.backup.sparse import SparseFile
from safedocker.errors import SafedockerError


def packed(folder: Path, *flags: str) -> bytes:
    tar = ("tar", "-cf", "-", "--format=posix", "--sort=name", "-C", str(folder), *flags, "volume")
    return subprocess.run(tar, capture_output=True, check=True).stdout


def read(data: bytes, size: int) -> tuple[Inventory, str]:
    reader = TreeReader(fine=True)
    for at in range(0, len(data), size):
        reader.feed(data[at : at + size])
    return reader.finish(), reader.fine()


def test_a_tree_counts_the_same_packed_either_way(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    for number in range(40):
        with (volume / f"{number:02}").open("wb") as file:
            for part in range(number):
                file.seek(part * 50_000)
                file.write(b"x" * (part * 7 + 1))
            file.truncate(number * 60_000)
    (volume / ("n" * 200)).write_bytes(b"")
    os.truncate(volume / ("n" * 200), 3_000_000)
    dense, sparse = packed(tmp_path), packed(tmp_path, "--sparse")
    assert len(sparse) < len(dense) // 2
    expected = read(dense, 1 << 20)
    for size in (97, 512, 1 << 20):
        assert read(sparse, size) == expected


MAP = b"2\n1000\n5\n4000\n0\n"
FILE = MAP.ljust(512, b"\0") + b"hello"


def take(data: bytes, size: int) -> None:
    file = SparseFile(size, lambda _piece: None)
    file.feed(data)
    file.finish()


@given(st.lists(st.integers(1, len(FILE)), max_size=5))
def test_pieces_may_have_any_size(cuts: list[int]) -> None:
    told: list[bytes] = []
    file = SparseFile(4000, lambda piece: told.append(bytes(piece)))
    at = 0
    for cut in (*sorted(cuts), len(FILE)):
        file.feed(FILE[at:cut])
        at = cut
    file.finish()
    assert b"".join(told) == bytes(1000) + b"hello" + bytes(2995)


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (FILE[:-1], 4000),
        (FILE[:300], 4000),
        (FILE + b"x", 4000),
        (FILE, 1002),
        (FILE.replace(b"1000", b"-100"), 4000),
        (b"1\n5\n".ljust(512, b"\0"), 4000),
        (b"2\n10\n3\n5\n3\n".ljust(512, b"\0") + b"abcdef", 4000),
        (b"", 4000),
    ],
    ids=["short", "no map", "long", "past the end", "below zero", "cut map", "backwards", "empty"],
)
def test_what_does_not_fit_its_map_is_refused(data: bytes, size: int) -> None:
    with pytest.raises(SafedockerError):
        take(data, size)
