"""The text of a dump in SQL: which of its lines a server has done already, and which are to be done
last. What they are fed by is dumps.py's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple


class There(NamedTuple):
    """What a server has before a dump goes into it; `login` is the role that feeds it."""

    roles: frozenset[str]
    databases: frozenset[str]
    login: str


def adapt_postgres(pieces: Iterable[bytes], there: There, late: list[bytes]) -> Iterator[bytes]:
    """Blank the lines that make roles and databases which are there: psql shall stop at an error,
    and the first one would be that of `CREATE ROLE postgres`. What the dump says of them, the
    passwords too, stands in lines of its own; that of the role which feeds it comes `late`. A line
    keeps its length."""
    rest = b""
    copying = connected = False
    for piece in pieces:
        held = rest + piece
        at = done = 0
        while True:
            if copying:  # the data of a table: no line of it is one of ours
                end = held.find(b"\n\\.\n", at)
                if end < 0:
                    at = max(held.rfind(b"\n", at), at)
                    break
                copying, at = False, end + 1
            end = held.find(b"\n", at)
            if end < 0:
                break
            line = held[at:end]
            copying = line.startswith(b"COPY ") and line.endswith(b"FROM stdin;")
            connected = connected or line.startswith(b"\\connect ")
            made = there.databases if line.startswith(b"CREATE DATABASE ") else frozenset[str]()
            if line.startswith(b"CREATE ROLE ") and not connected:
                made = there.roles
            own = line.startswith(b"ALTER ROLE ") and not connected and b" WITH " in line
            if own and _named_in(line) == there.login:
                late.append(line)
                made = frozenset({there.login})
            if made and _named_in(line) in made:
                yield held[done:at]
                yield b"-" * len(line)
                done = end
            at = end if copying else end + 1
        yield held[done:at]
        rest = held[at:]
    yield rest


def _named_in(line: bytes) -> str:
    found = re.match(rb'(?:CREATE|ALTER) (?:ROLE|DATABASE) ("(?:[^"]|"")+"|[^\s;]+)', line)
    name = found[1].decode("utf-8", "surrogateescape") if found else ""
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


# Source: mariadb-dump and mysqldump, dump_all_tables_in_db.
_FLUSH = re.compile(rb"\n-- Flush Grant Tables *\n--\n\n(/\*! FLUSH PRIVILEGES \*/ *;)(?=\n)")
_LONGEST = 128  # bytes that it takes at most


def adapt_mariadb(pieces: Iterable[bytes], _there: There, late: list[bytes]) -> Iterator[bytes]:
    """Until privileges are flushed the server lets in whom it let in before, though the tables tell
    of others: that comes `late`. A line keeps its length."""

    def blank(found: re.Match[bytes]) -> bytes:
        late.append(found[1])
        return found[0][: -len(found[1])] + b"--".ljust(len(found[1]))

    held = b""
    for piece in pieces:
        held = _FLUSH.sub(blank, held + piece)
        cut = max(0, len(held) - _LONGEST)
        yield held[:cut]
        held = held[cut:]
    yield held
