"""Owners as containers know them, in tar streams of engines that remap their containers' users.

Such an engine (dockerd --userns-remap) sends a volume's files with the ids they have on its host,
and takes them back by those that they have in a container: 20.10, 26.1 and 28.5 do. What it sends
is therefore told in the containers' ids, which are also what another engine understands.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_BLOCK = 512
_RANGE = 65536  # ids that one line of /etc/subuid gives away, by useradd's default
_UID, _GID, _SIZE = slice(108, 116), slice(116, 124), slice(124, 136)
_SUM = slice(148, 156)
_EXTENDED = b"xg"  # headers whose content is records of text: "27 uid=3000000\n"
_RECORDS_AT_MOST = 1 << 20  # bytes
_RECORD = re.compile(rb"(?s)(\d+) ([^=]+)=(.*)\n")


@dataclass(frozen=True)
class Remap:
    """The host's ids of the containers' root."""

    uid: int
    gid: int


def find_remap(data_directory: str, security: Iterable[str]) -> Remap | None:
    """What an engine's /info says of it; None for an engine that does not remap.

    Source: moby daemon/daemon_unix.go, setupDaemonRoot names the folder by the ids.
    """
    found = re.search(r"/(\d+)\.(\d+)$", data_directory)
    if found is None or not any(one.startswith("name=userns") for one in security):
        return None
    return Remap(int(found[1]), int(found[2]))


def of_containers(chunks: Iterable[bytes], remap: Remap) -> Iterator[bytes]:
    """The same tar stream with the containers' ids. What is no tar passes as it is."""
    held = bytearray()
    content = 0  # bytes of content and padding that are still to pass
    for chunk in chunks:
        held += chunk
        passed = bytearray()
        while held:
            if content:
                part = held[:content]
                passed += part
                content -= len(part)
                del held[: len(part)]
                continue
            if len(held) < _BLOCK:
                break
            size = _number(bytes(held[_SIZE]))
            padded = -(-size // _BLOCK) * _BLOCK
            if held[156] in _EXTENDED and size < _RECORDS_AT_MOST:
                if len(held) < _BLOCK + padded:
                    break
                records = bytes(held[_BLOCK : _BLOCK + size])
                passed += _records(bytes(held[:_BLOCK]), records, remap)
                del held[: _BLOCK + padded]
                continue
            passed += _header(bytes(held[:_BLOCK]), remap)
            del held[:_BLOCK]
            content = padded
        if passed:
            yield bytes(passed)
    if held:
        yield bytes(held)


def _number(field: bytes) -> int:
    """A number of a header: octal, or base 256 where it would not fit."""
    if field[:1] >= b"\x80":
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    digits = field.strip(b" \0")
    return int(digits, 8) if digits and set(digits) <= set(b"01234567") else 0


def _moved(id_: int, base: int) -> int:
    return id_ - base if base <= id_ < base + _RANGE else id_


def _header(block: bytes, remap: Remap) -> bytes:
    if not any(block):
        return block  # the end
    new = bytearray(block)
    for field, base in ((_UID, remap.uid), (_GID, remap.gid)):
        id_ = _number(block[field])
        if _moved(id_, base) != id_:
            new[field] = b"%07o\0" % _moved(id_, base)
    return _summed(new)


def _summed(block: bytearray) -> bytes:
    block[_SUM] = b" " * 8
    block[_SUM] = b"%06o\0 " % sum(block)
    return bytes(block)


def _records(block: bytes, records: bytes, remap: Remap) -> bytes:
    """An extended header and its records, with the ids in them moved."""
    told = bytearray()
    rest = records
    while found := _RECORD.match(rest[: int(rest.partition(b" ")[0] or b"0")]):
        length, key, value = found.groups()
        base = {b"uid": remap.uid, b"gid": remap.gid}.get(key)
        if base is not None and value.isdigit():
            value = b"%d" % _moved(int(value), base)
        told += _record(key, value)
        rest = rest[int(length) :]
    told += rest
    new = bytearray(block)
    new[_SIZE] = b"%011o\0" % len(told)
    return _summed(new) + told + bytes(-len(told) % _BLOCK)


def _record(key: bytes, value: bytes) -> bytes:
    """A record with its own length in front, which counts itself."""
    body = b" %s=%s\n" % (key, value)
    length = len(body) + len(str(len(body)))
    length = len(body) + len(str(length))
    return b"%d%s" % (length, body)
