"""What is in a volume: the walk over tar streams of every make, and the table of contents."""

import datetime
import io
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safedocker.backup import folder
from safedocker.backup.flags import Flags
from safedocker.edge.look import (
    HEAD,
    ROWS,
    SQLITE,
    Tally,
    content,
    first_file,
    recognise,
    start_of,
    walk,
    walk_folder,
    worth_probing,
)

Entry = tuple[str, bytes | None]  # a path below the root, and a file's bytes; None: a folder


def archive(entries: list[Entry], form: int = tarfile.PAX_FORMAT, root: str = "volume") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form, errors="surrogateescape") as tar:
        for number, (path, data) in enumerate([("", None), *entries]):
            info = tarfile.TarInfo(f"{root}/{path}" if path else root)
            info.mtime = 1_000_000 + number
            if data is None:
                info.type = tarfile.DIRTYPE
                tar.addfile(info)
            else:
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def tally_of(data: bytes, size: int = 1000) -> Tally:
    tally = Tally()
    walk(pieces(data, size), tally, lambda: True)
    return tally


def found_in(tally: Tally) -> str:
    return recognise(tally.names.__contains__, lambda path: tally.heads.get(path, b""))


names = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=120
).filter(lambda name: name not in {".", "..", "lost+found"})


@given(
    st.lists(st.tuples(st.lists(names, min_size=1, max_size=4), st.binary(max_size=1500))),
    st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
    st.integers(1, 3000),
)
def test_walk_counts_what_tarfile_counts(
    files: list[tuple[list[str], bytes]], form: int, size: int
) -> None:
    entries: list[Entry] = [("/".join(path), data) for path, data in files]
    tally = tally_of(archive(entries, form), size)
    assert tally.whole
    assert tally.entries == len(entries)
    assert tally.size == sum(len(data) for _, data in files)
    assert tally.newest == (1_000_000 + len(entries) if entries else None)
    assert tally.empty is (not entries)


@pytest.mark.parametrize("size", [1, 511, 512, 513, 1 << 20])
def test_walk_does_not_mind_how_the_stream_is_cut_up(size: int) -> None:
    data = archive([("PG_VERSION", b"16\n"), ("global", None), ("base/1/2", b"x" * 5000)])
    tally = tally_of(data, size)
    assert (tally.whole, tally.size, found_in(tally)) == (True, 5003, "PostgreSQL 16")


def test_sizes_too_large_for_octal_digits_are_read() -> None:
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        info = tarfile.TarInfo("volume/large")
        info.size = 9 << 30
        header = info.tobuf(form)
        tally = Tally()
        zeros = bytes(1 << 20)
        stream = [header, *[zeros] * (9 << 10), bytes(1024)]
        walk(stream, tally, lambda: True)
        assert (tally.whole, tally.size) == (True, 9 << 30)


def test_truncated_stream_is_never_whole() -> None:
    data = archive([("a", b"1" * 700), ("b", b"2")])
    end = len(data.rstrip(b"\0")) // 512 * 512 + 512
    for cut in range(0, end + 1024, 256):
        tally = tally_of(data[:cut])
        assert not tally.whole
        assert not tally.empty
    assert tally_of(data[: end + 1024]).whole


@given(st.binary(max_size=2000))
def test_no_bytes_make_the_walk_raise(data: bytes) -> None:
    tally_of(data, 700)
    first_file(iter([data]))


def test_walk_ends_when_time_is_up() -> None:
    asked: list[int] = []

    def in_time() -> bool:
        asked.append(1)
        return len(asked) < 4

    tally = Tally()
    walk(pieces(archive([("a", b"x" * 100_000)]), 1000), tally, in_time)
    assert not tally.whole
    assert tally.entries == 1
    assert len(asked) == 4


def test_hard_links_and_special_files_have_no_size() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for kind in (tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
            info = tarfile.TarInfo(f"volume/{kind!r}")
            info.type = kind
            info.linkname = "volume/x"
            tar.addfile(info)
    tally = tally_of(buffer.getvalue())
    assert (tally.whole, tally.entries, tally.size, tally.newest) == (True, 4, 0, None)


def test_last_write_is_the_newest_files_and_else_the_roots() -> None:
    second = datetime.timedelta(seconds=1)
    start = datetime.datetime.fromtimestamp(1_000_000, datetime.UTC)
    assert tally_of(archive([])).last_write == start
    assert tally_of(archive([("folder", None)])).last_write == start
    later: list[Entry] = [("f", b""), ("g", b""), ("folder", None)]
    assert tally_of(archive(later)).last_write == start + 2 * second
    assert Tally().last_write is None
    assert Tally(newest=1e300).last_write is None
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        info = tarfile.TarInfo("volume/before 1970")
        info.mtime = -1
        assert tally_of(info.tobuf(form) + bytes(1024)).newest == -1


def test_lost_and_found_alone_is_empty() -> None:
    assert tally_of(archive([("lost+found", None)])).empty
    assert not tally_of(archive([("lost+found", None), ("lost+found/#12", b"x")])).empty
    assert not tally_of(archive([("folder", None)])).empty


CONTENTS: dict[str, tuple[dict[str, bytes | None], str]] = {
    "postgres": ({"PG_VERSION": b"15\n", "global": None}, "PostgreSQL 15"),
    "postgres 9": ({"PG_VERSION": b"9.6\n", "global": None}, "PostgreSQL 9.6"),
    "postgres 18": (
        {"18": None, "18/docker": None, "18/docker/PG_VERSION": b"18\n", "18/docker/global": None},
        "PostgreSQL 18",
    ),
    "postgres of PGDATA": (
        {"pgdata/PG_VERSION": b"14\n", "pgdata/global": None},
        "PostgreSQL 14",
    ),
    "a lone PG_VERSION": ({"PG_VERSION": b"15\n"}, "files"),
    "mariadb": (
        {
            "aria_log_control": b"",
            "ibdata1": b"",
            "mysql": None,
            "mariadb_upgrade_info": b"10.11.6-MariaDB\n",
        },
        "MariaDB 10.11",
    ),
    "mariadb, older": (
        {"aria_log_control": b"", "ibdata1": b"", "mysql_upgrade_info": b"10.5.23-MariaDB"},
        "MariaDB 10.5",
    ),
    "mysql": ({"ibdata1": b"", "mysql": None, "mysql_upgrade_info": b"8.0.36"}, "MySQL 8.0"),
    "mysql 8.4": (
        {
            "ibdata1": b"",
            "mysql.ibd": b"",
            "mysql_upgrade_history": b'{"upgrade_history":[{"date":"x","version":"8.4.0"}]}',
        },
        "MySQL 8.4",
    ),
    "mysql without a version": ({"ibdata1": b"", "mysql": None}, "MySQL"),
    "redis": ({"dump.rdb": b"REDIS0010\xfa\tredis-ver\x067.0.15\xfa"}, "Redis 7.0"),
    "valkey": ({"dump.rdb": b"REDIS0011\xfa\nvalkey-ver\x058.0.1\xfa"}, "Redis 8.0"),
    "redis, append only": ({"appendonlydir": None}, "Redis"),
    "redis, old append only": ({"appendonly.aof": b""}, "Redis"),
    "mongo": ({"WiredTiger": b"", "WiredTiger.wt": b""}, "MongoDB"),
    "elastic": ({"nodes": None, "nodes/0": None}, "Elasticsearch"),
    "elastic 8": ({"_state": None, "indices": None}, "Elasticsearch"),
    "etcd": ({"member": None, "member/wal": None}, "etcd"),
    "influx": ({"influxd.bolt": b""}, "InfluxDB"),
    "clickhouse": ({"store": None, "metadata": None}, "ClickHouse"),
    "neo4j": ({"databases": None, "transactions": None}, "Neo4j"),
    "rabbit": ({"mnesia": None}, "RabbitMQ"),
    "minio": ({".minio.sys": None}, "MinIO"),
    "prometheus": ({"chunks_head": None, "wal": None}, "Prometheus"),
    "grafana": ({"grafana.db": SQLITE + b"..."}, "Grafana"),
    "sqlite": ({"app/odd name": SQLITE + bytes(100)}, "SQLite files"),
    "almost sqlite": ({"x.db": SQLITE[:-1]}, "files"),
    "files": ({"index.html": b"<html>"}, "files"),
    "folders": ({"a": None}, "files"),
    "nothing": ({}, ""),
}


@pytest.mark.parametrize("case", CONTENTS)
def test_contents_are_recognised(case: str) -> None:
    paths, expected = CONTENTS[case]
    tally = tally_of(archive(list(paths.items())))
    assert content(tally, found_in(tally)) == expected


def test_every_row_is_recognised_by_a_case() -> None:
    said = {expected for _, expected in CONTENTS.values()}
    assert {row.name for row in ROWS} <= {one.rpartition(" ")[0] or one for one in said} | said


@pytest.mark.parametrize("case", CONTENTS)
def test_probes_find_what_a_walk_finds(case: str) -> None:
    """A walk that saw the top folders only, and then asks path by path."""
    paths, expected = CONTENTS[case]
    parents = {path.rpartition("/")[0] for path in paths}
    tally = tally_of(archive([("10", None), ("18", None)]))

    def has(path: str) -> bool:
        return worth_probing(tally, path) and (path in paths or path in parents)

    def read(path: str) -> bytes:
        return (paths.get(path) or b"")[:HEAD]

    expected = "" if expected in {"files", "SQLite files"} else expected
    assert recognise(has, read) == expected


def test_probes_below_a_version_folder_need_the_folder() -> None:
    asked: list[str] = []
    note: Callable[[str], None] = asked.append

    def has(path: str) -> bool:
        if worth_probing(Tally(), path):
            note(path)
        return False

    assert recognise(has, lambda _: b"") == ""
    assert not any(path[0].isdigit() for path in asked)
    assert len(asked) < 60


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_first_file_is_taken_out_of_its_archive(form: int) -> None:
    name = "n" * 300  # needs an extended header
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        info = tarfile.TarInfo(name)
        info.size = 10_000
        tar.addfile(info, io.BytesIO(b"15\n" + bytes(9997)))
    assert first_file(pieces(buffer.getvalue(), 700)) == b"15\n" + bytes(HEAD - 3)
    assert first_file(iter([])) == b""


def test_a_folder_tells_what_its_stream_does(tmp_path: Path) -> None:
    place = tmp_path / "volume"
    (place / "data/global").mkdir(parents=True)
    (place / "data/PG_VERSION").write_text("15\n")
    (place / "data/base").write_bytes(b"x" * 10_000)
    os.link(place / "data/base", place / "data/same")
    (place / "app.db").write_bytes(SQLITE + bytes(100))
    (place / "link").symlink_to("/etc")
    (place / "lost+found").mkdir()
    os.mkfifo(place / "fifo")
    opened = os.open(place, os.O_RDONLY)
    sent, walked = Tally(), Tally()
    walk([b"".join(map(bytes, folder.read(opened, Flags())))], sent, lambda: True)
    walk_folder(opened, walked, lambda: True)
    assert sent.whole
    sent.newest, walked.newest = int(sent.newest or 0), int(walked.newest or 0)
    sent.root, walked.root = int(sent.root or 0), int(walked.root or 0)
    assert walked == sent
    assert walked.size == 10_000 + 3 + len(SQLITE) + 100
    late = Tally()
    walk_folder(opened, late, lambda: late.entries < 2)
    assert (late.whole, late.entries) == (False, 2)


def test_a_place_in_the_volumes_own_folder_is_looked_at_and_no_link_is_followed(
    tmp_path: Path,
) -> None:
    (tmp_path / "base/deep").mkdir(parents=True)
    (tmp_path / "base/PG_VERSION").write_text("15\n")
    (tmp_path / "link").symlink_to("base")
    top = os.open(tmp_path, os.O_RDONLY)
    try:
        told = {
            path: start_of(top, path)
            for path in ("base/PG_VERSION", "base/deep", "base", "link", "link/deep", "none", "a/b")
        }
        before = os.listdir("/proc/self/fd")
        start_of(top, "base/none")
        assert len(os.listdir("/proc/self/fd")) == len(before)
    finally:
        os.close(top)
    assert told.pop("base/PG_VERSION") == b"15\n"
    assert [path for path, one in told.items() if one is None] == ["link/deep", "none", "a/b"]
    assert set(told.values()) == {b"", None}
