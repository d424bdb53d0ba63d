"""A container's file: what was written is read back, and nothing else is taken for it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

import pytest

from safedocker.backup import layers
from safedocker.backup.inventory import BadArchive
from safedocker.backup.manifest import Stored
from safedocker.backup.zst import pack

LAYER = bytes(range(256)) * 5000
HEAD = {
    "container": 1,
    "definition": {"Id": "c"},
    "digest": f"sha256:{hashlib.sha256(LAYER).hexdigest()}",
    "size": len(LAYER),
    "ran": True,
}


def packed(head: dict[str, object], layer: bytes) -> bytes:
    line = json.dumps(head).encode() + b"\n"
    return b"".join(pack([line, layer], lambda _piece: None))


def stored(content: bytes) -> Stored:
    return Stored("container-1.tar.zst", len(content), hashlib.sha256(content).hexdigest())


WHOLE = packed(HEAD, LAYER)


@pytest.mark.parametrize("size", [1, 7, len(WHOLE)])
def test_the_file_that_was_written_is_taken_in_pieces_of_any_size(size: int) -> None:
    layers.check(stored(WHOLE), [WHOLE[at : at + size] for at in range(0, len(WHOLE), size)])


DAMAGE: dict[str, Callable[[], bytes]] = {
    "a byte": lambda: WHOLE[:40] + bytes([WHOLE[40] ^ 1]) + WHOLE[41:],
    "cut short": lambda: WHOLE[:-20],
    "empty": lambda: b"",
    "no archive": lambda: b"this was never packed" * 10,
    "something behind": lambda: WHOLE + b"x",
    "another layer": lambda: packed(HEAD, LAYER[1:]),
    "no definition": lambda: packed({}, LAYER),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_told_as_one(damage: Callable[[], bytes]) -> None:
    with pytest.raises(BadArchive):
        layers.check(stored(WHOLE), [damage()])


@pytest.mark.parametrize("name", ["another layer", "no definition"])
def test_a_file_whose_own_digest_fits_is_looked_into(name: str) -> None:
    content = DAMAGE[name]()
    with pytest.raises(BadArchive):
        layers.check(stored(content), [content])
