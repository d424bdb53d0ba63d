"""Plain archives: read as they were meant, refused where they write elsewhere or end early."""

from __future__ import annotations

import gzip
import io
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from safedocker.backup import inventory, outgoing, plain
from safedocker.backup.inventory import BadArchive, Inventory
from safedocker.backup.plain import Packing
from tests.pure.test_inventory import CAPABILITY, EVERYTHING, archive, member, root

NOBODY = (0, 0, 0o755)


def pieces(data: bytes, size: int = 700) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def folder(name: str, **fields: object) -> tarfile.TarInfo:
    return member(name, tarfile.DIRTYPE, **{"mode": 0o755, **fields})


def bring_in(data: bytes, strip: int | None = None, owner=NOBODY) -> tuple[Inventory, list[str]]:
    """What a volume would hold, and the paths in it."""
    outline = plain.outline(plain.unpack(pieces(data)), strip)
    stream = b"".join(plain.as_volume(plain.unpack(pieces(data)), outline, owner))
    with tarfile.open(fileobj=io.BytesIO(stream), errors="surrogateescape") as tar:
        names = [one.name.removeprefix("volume").removeprefix("/") for one in tar]
    return inventory.read([stream]), sorted(names)


def out(*members: tuple[tarfile.TarInfo, bytes] | tarfile.TarInfo) -> bytes:
    return b"".join(outgoing.as_plain(pieces(archive(*members))))


def capable() -> tarfile.TarInfo:
    one = member("volume/" + "long" * 60)
    value = CAPABILITY.decode("utf-8", "surrogateescape")
    one.pax_headers = {"SCHILY.xattr.security.capability": value}
    return one


@pytest.mark.parametrize("packing", Packing, ids=lambda one: one.name)
def test_a_volume_goes_out_and_comes_in_the_same(packing: Packing) -> None:
    members = (*EVERYTHING, (capable(), b"#!"))
    packed = b"".join(plain.pack(iter([out(*members)]), packing))
    assert bring_in(packed)[0] == inventory.read([archive(*members)])


def test_an_archive_is_as_tar_itself_writes_it(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(out(root(), folder("volume/sub"), member("volume/sub/ü")))
    listed = subprocess.run(
        ["tar", "-tf", tmp_path / "x.tar", "--quoting-style=literal"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert (listed.stdout, listed.stderr) == ("./\n./sub/\n./sub/ü\n", "")
    assert len((tmp_path / "x.tar").read_bytes()) % tarfile.RECORDSIZE == 0


def test_what_a_header_has_no_room_for_is_read_by_others_too() -> None:
    odd = {"uid": 3_000_000, "gid": 1 << 40, "mtime": -5, "size": 3}
    long, target = "volume/" + "ü/" * 90 + "x", "t" * 150
    link = member("volume/link", tarfile.SYMTYPE, linkname=target)
    device = member("volume/device", tarfile.CHRTYPE, devmajor=1, devminor=3)
    data = out(root(), (member(long, **odd), b"abc"), link, device)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        told = {one.name: one for one in tar}
    found = told["./" + long.removeprefix("volume/")]
    assert {key: getattr(found, key) for key in odd} == odd
    assert told["./link"].linkname == target
    assert (told["./device"].devmajor, told["./device"].devminor) == (1, 3)


def test_a_hole_of_any_size_takes_no_memory() -> None:
    size = 1 << 40
    numbers = b"2\n0\n1\n%d\n0\n" % size
    sparse = member("volume/GNUSparseFile.0/hole")
    sparse.pax_headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": "volume/hole",
        "GNU.sparse.realsize": str(size),
    }
    content = numbers.ljust(512, b"\0") + b"x"
    gone = outgoing.as_plain(pieces(archive(root(), (sparse, content)), 1 << 20))
    assert b"./hole" in next(gone)
    assert [len(next(gone)) for _ in range(5)] == [1 << 20] * 5


def test_files_without_number_go_out_about_as_fast_as_they_are_read() -> None:
    data = archive(root(), *((member(f"volume/{number}"), b"x") for number in range(4000)))

    def seconds(stream: Iterator[bytes]) -> float:
        began = time.process_time()
        for _piece in stream:
            pass
        return time.process_time() - began

    def read() -> Iterator[bytes]:
        yield b""
        inventory.read(pieces(data, 1 << 20))

    ratios = [seconds(outgoing.as_plain(pieces(data, 1 << 20))) / seconds(read()) for _ in range(3)]
    assert min(ratios) < 3


@pytest.mark.parametrize("first", ["data", "./data", "volume"])
def test_one_folder_around_all_is_no_guess_of_ours(first: str) -> None:
    data = archive(folder(first, uid=70, mode=0o700), (member(f"{first}/a"), b"x"))
    with pytest.raises(plain.Ambiguous) as caught:
        bring_in(data)
    assert (caught.value.top, caught.value.depth) == (first.removeprefix("./"), 1)
    held, names = bring_in(data, 1)
    assert (names, held.root_uid, held.root_mode) == (["", "a"], 70, 0o700)
    held, names = bring_in(data, 0)
    assert (names, held.root_uid) == (["", first.removeprefix("./"), f"{caught.value.top}/a"], 0)


def test_a_volume_with_one_folder_in_it_is_no_riddle_when_the_archive_has_the_root() -> None:
    data = archive(folder(".", uid=70), folder("./pgdata"), (member("./pgdata/a"), b"x"))
    held, names = bring_in(data)
    assert (names, held.root_uid) == (["", "pgdata", "pgdata/a"], 70)


def test_second_names_and_links_move_with_the_files() -> None:
    data = archive(
        folder("var"),
        folder("var/lib"),
        (member("var/lib/a"), b"x"),
        member("var/lib/b", tarfile.LNKTYPE, linkname="var/lib/a"),
        member("var/lib/c", tarfile.SYMTYPE, linkname="/var/lib/a"),
    )
    with pytest.raises(plain.Ambiguous) as caught:
        bring_in(data)
    assert caught.value.depth == 1, "the first folder that has an entry"
    outline = plain.outline(pieces(data), 2)
    stream = b"".join(plain.as_volume(pieces(data), outline, NOBODY))
    with tarfile.open(fileobj=io.BytesIO(stream)) as tar:
        links = {one.name: one.linkname for one in tar if one.linkname}
    assert links == {"volume/b": "volume/a", "volume/c": "/var/lib/a"}


def test_the_folder_that_is_meant_is_the_first_that_was_packed() -> None:
    """`tar cz /var/lib/data` packs no entry for /var and /var/lib."""
    with pytest.raises(plain.Ambiguous) as caught:
        bring_in(
            archive(folder("var/lib/data"), folder("var/lib/data/a"), member("var/lib/data/a/b"))
        )
    assert (caught.value.top, caught.value.depth) == ("var/lib/data", 3)


def test_what_has_no_entry_is_made_up_once() -> None:
    held, names = bring_in(
        archive(member("a/b/c"), member("a/b/d"), member("e")), None, (7, 8, 0o711)
    )
    assert names == ["", "a", "a/b", "a/b/c", "a/b/d", "e"]
    assert (held.root_uid, held.root_gid, held.root_mode) == (7, 8, 0o711)


@pytest.mark.parametrize("strip", [0, 1])
def test_a_folder_may_come_behind_what_is_in_it(strip: int) -> None:
    """As archives do that were packed from a list of names: it is made before that, and once."""
    outer, inner = folder("./a", mode=0o500, mtime=7), folder("./a/b", mtime=9)
    file = member("./a/b/x")
    behind, before = archive(file, inner, outer), archive(outer, inner, file)
    outline = plain.outline(plain.unpack(pieces(behind)), strip)
    stream = b"".join(plain.as_volume(plain.unpack(pieces(behind)), outline, NOBODY))
    with tarfile.open(fileobj=io.BytesIO(stream)) as tar:
        paths = [one.name for one in tar]
    below = "b b/x" if strip else "a a/b a/b/x"
    assert paths == ["volume", *(f"volume/{one}" for one in below.split())]
    assert inventory.read([stream]) == bring_in(before, strip)[0]


def test_sparse_files_of_gnu_tar_come_in_full(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(3 << 20)
        file.seek(1 << 20)
        file.write(b"in the middle")
    for form in ("gnu", "posix"):
        tar = ["tar", "-S", f"--format={form}", "-C", str(tmp_path), "-cf", "-", "./sparse"]
        data = subprocess.run(tar, capture_output=True, check=True).stdout
        assert len(data) < 1 << 20
        held, _names = bring_in(data)
        assert (held.files, held.bytes) == (1, 3 << 20)


ELSEWHERE = {
    "absolute": [member("/etc/passwd")],
    "above": [member("./a/../../x")],
    "by a link": [member("a", tarfile.SYMTYPE, linkname="/etc"), member("a/passwd")],
    "by a link later": [member("a/passwd"), member("a", tarfile.SYMTYPE, linkname="/etc")],
    "second name of": [member("a", tarfile.LNKTYPE, linkname="/etc/passwd")],
    "second name above": [member("a", tarfile.LNKTYPE, linkname="../x")],
    "second name of nothing": [member("a", tarfile.LNKTYPE, linkname="b")],
    "twice": [member("a"), member("./a")],
    "root no folder": [member(".", tarfile.SYMTYPE, linkname="/etc")],
}


@pytest.mark.parametrize("members", ELSEWHERE.values(), ids=ELSEWHERE)
@pytest.mark.parametrize("strip", [None, 0])
def test_what_would_write_elsewhere_is_refused(
    members: list[tarfile.TarInfo], strip: int | None
) -> None:
    with pytest.raises(BadArchive) as caught:
        bring_in(archive(folder("."), *members), strip)
    assert not isinstance(caught.value, plain.Ambiguous)


def test_more_is_not_taken_off_than_all_have() -> None:
    with pytest.raises(BadArchive, match="2 folders deep"):
        bring_in(archive(folder("a"), member("a/b"), member("a/c")), 2)
    with pytest.raises(BadArchive, match="1 folders deep"):
        bring_in(archive(folder("a"), folder("b")), 1)


ZEROS = archive(folder("."), (member("./a"), bytes(5000)), (member("./b"), bytes(4096)))
PACKED = {
    "tar": ZEROS,
    "gz": gzip.compress(ZEROS),
    "zst": zstandard.compress(ZEROS),
    "gz-gz": gzip.compress(ZEROS[:6000]) + gzip.compress(ZEROS[6000:]),
}


@pytest.mark.parametrize("form", PACKED)
def test_an_archive_that_ends_early_is_never_taken(form: str) -> None:
    """Cut anywhere, on the border of an entry and within zeros too."""
    whole = PACKED[form]
    assert bring_in(whole)[0].bytes == 9096
    end = ZEROS.rstrip(b"\0") if form == "tar" else whole
    last = len(end) - len(end) % 512 + 512 + 4096 if form == "tar" else len(whole) - 1
    step = 512 if form == "tar" else 1
    for length in range(step, last + 1, step):
        with pytest.raises(BadArchive):
            bring_in(whole[:length])


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "no tar"),
        (b"x" * 5000, "no tar"),
        (bytes(10240), "holds nothing"),
        (b"BZh91AY&SY" + bytes(600), "bzip2"),
        (gzip.compress(b"x" * 5000), "no tar"),
        (ZEROS[:1024] + b"x" * 512 + ZEROS[1024:], "cut short|damaged|no tar"),
        (ZEROS + b"something else", "something else follows"),
    ],
    ids=["nothing", "text", "zeros", "bzip2", "packed text", "damaged", "goes on"],
)
def test_what_is_no_archive_is_told(data: bytes, match: str) -> None:
    with pytest.raises(BadArchive, match=match):
        bring_in(data)


@pytest.mark.parametrize(
    ("name", "packing"),
    [
        ("x.tar.gz", Packing.GZIP),
        ("x.TGZ", Packing.GZIP),
        ("x.tar.zst", Packing.ZSTD),
        ("x.tar", Packing.NONE),
        ("x.zip", None),
    ],
)
def test_the_name_says_how_it_is_packed(name: str, packing: Packing | None) -> None:
    assert plain.packing_of(name) is packing
