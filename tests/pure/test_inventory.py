"""What a tar stream holds: counted as tarfile counts, and never passed when it is not whole."""

import hashlib
import io
import random
import tarfile
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safedocker.backup import inventory
from safedocker.backup.inventory import BadArchive, Inventory, TreeReader

CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")


def member(name: str, kind: bytes = tarfile.REGTYPE, /, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.mode = 0o644
    info.mtime = 1_700_000_000
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def root(**fields: object) -> tarfile.TarInfo:
    return member("volume", tarfile.DIRTYPE, **{"mode": 0o700, "uid": 999, "gid": 998, **fields})


def archive(
    *members: tuple[tarfile.TarInfo, bytes] | tarfile.TarInfo, form: int = tarfile.PAX_FORMAT
) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form, errors="surrogateescape") as tar:
        for one in members:
            info, contents = one if isinstance(one, tuple) else (one, b"")
            info.size = len(contents)
            tar.addfile(info, io.BytesIO(contents))
    return buffer.getvalue()


EVERYTHING = (
    root(mode=0o4750),
    (member("volume/file"), b"contents"),
    member("volume/again", tarfile.LNKTYPE, linkname="volume/file"),
    member("volume/link", tarfile.SYMTYPE, linkname="/some/where"),
    member("volume/fifo", tarfile.FIFOTYPE),
    member("volume/null", tarfile.CHRTYPE, devmajor=1, devminor=3),
    member("volume/dir", tarfile.DIRTYPE),
    (member("volume/dir/" + "n" * 300, uid=2**31, gid=2**21), b"x" * 5000),
    (member("volume/\udcff\udcfe\nodd"), b""),
    member("volume/toolong", tarfile.SYMTYPE, linkname="t" * 400),
)


def test_counts_what_is_there() -> None:
    found = inventory.read([archive(*EVERYTHING)])
    assert found == Inventory(
        entries=10,
        files=3,
        directories=2,
        links=3,
        others=2,
        bytes=5008,
        engine_bytes=5008 + len("/some/where") + 400,
        tree_sha256=found.tree_sha256,
        root_uid=999,
        root_gid=998,
        root_mode=0o4750,
    )


def test_entries_are_handed_on_and_none_is_remembered() -> None:
    many = archive(root(), *(member(f"volume/{number:06}") for number in range(3000)))
    told: list[bytes] = []
    reader = TreeReader(lambda entry, _contents: told.append(entry.path), remember=False)
    tracemalloc.start()
    try:
        reader.feed(many)
        held, _peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert reader.end().uid == 999
    assert (len(told), told[-1]) == (3001, b"002999")
    assert held < 3001 * 60 + 100_000, "the list of paths alone"


def test_spelling_of_headers_does_not_matter() -> None:
    pax = inventory.read([archive(*EVERYTHING)])
    gnu = inventory.read([archive(*EVERYTHING, form=tarfile.GNU_FORMAT)])
    assert pax == gnu


def test_name_of_the_volume_does_not_matter() -> None:
    def named(top: str) -> bytes:
        return archive(
            member(top, tarfile.DIRTYPE),
            (member(f"{top}/a"), b"1"),
            member(f"{top}/b", tarfile.LNKTYPE, linkname=f"{top}/a"),
        )

    assert inventory.read([named("volume")]) == inventory.read([named("./elsewhere")])


def test_order_of_entries_does_not_matter() -> None:
    rest = [(member(f"volume/{n}"), b"%d" % n) for n in range(20)]
    forward = archive(root(), *rest)
    assert inventory.read([forward]) == inventory.read([archive(root(), *reversed(rest))])


@pytest.mark.parametrize(
    "change",
    [
        {"mode": 0o600},
        {"mode": 0o4644},
        {"uid": 1},
        {"gid": 1},
        {"mtime": 1_700_000_001},
        {"name": "volume/other"},
        {"pax_headers": {"SCHILY.xattr.security.capability": "1"}},
        {"type": tarfile.FIFOTYPE},
    ],
    ids=lambda change: next(iter(change)),
)
def test_digest_tells_a_change(change: dict[str, object]) -> None:
    plain = inventory.read([archive(root(), member("volume/file"))])
    changed = inventory.read([archive(root(), member("volume/file", **change))])
    assert plain.tree_sha256 != changed.tree_sha256
    assert inventory.difference(plain, changed)


def test_digest_tells_contents_links_and_devices() -> None:
    def digest(*members: tuple[tarfile.TarInfo, bytes] | tarfile.TarInfo) -> str:
        return inventory.read([archive(root(), *members)]).tree_sha256

    assert digest((member("volume/a"), b"1")) != digest((member("volume/a"), b"2"))
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
        one = member("volume/l", kind, linkname="volume/a")
        other = member("volume/l", kind, linkname="volume/b")
        assert digest(one) != digest(other)
    one = member("volume/d", tarfile.CHRTYPE, devmajor=1, devminor=3)
    other = member("volume/d", tarfile.CHRTYPE, devmajor=1, devminor=5)
    assert digest(one) != digest(other)


def test_digest_leaves_out_what_the_engine_does_not_keep() -> None:
    def digest(mtime: float, of_root: float = 1) -> str:
        return inventory.read(
            [archive(root(mtime=of_root), member("volume/a", mtime=mtime))]
        ).tree_sha256

    assert digest(5.25) == digest(5)
    assert digest(-1.5) == digest(-9) == digest(0)  # the engine sets 1970 for what was before
    assert digest(5, of_root=1) == digest(5, of_root=2)


def test_root_owner_and_mode_count() -> None:
    plain = inventory.read([archive(root())])
    assert inventory.difference(plain, inventory.read([archive(root(mode=0o755))]))
    assert inventory.difference(plain, inventory.read([archive(root(uid=0))]))
    assert not inventory.difference(plain, inventory.read([archive(root(mtime=7))]))


def test_binary_xattrs_are_read() -> None:
    # As Go writes a capability: raw bytes in the PAX record, zeros and all.
    body = b"SCHILY.xattr.security.capability=" + CAPABILITY + b"\n"
    length = len(body) + 3
    record = b"%d %b" % (length, body)
    assert len(record) == length
    header = member("PaxHeaders/x", b"x")
    header.size = len(record)
    head = header.tobuf(tarfile.USTAR_FORMAT)
    extended = head + record.ljust(512, b"\0")
    whole = archive(root(), member("volume/f"))
    assert whole[512:1024].startswith(b"volume/f")
    with_it = inventory.read([whole[:512] + extended + whole[512:]])
    assert with_it.tree_sha256 != inventory.read([whole]).tree_sha256
    assert with_it.entries == 2


@given(st.integers(0, 2**32), st.integers(1, 700))
def test_pieces_of_any_size_give_the_same(seed: int, most: int) -> None:
    whole = archive(*EVERYTHING)
    draw = random.Random(seed)  # noqa: S311 - no secret
    reader = TreeReader()
    at = 0
    while at < len(whole):
        step = draw.randint(1, most)
        reader.feed(whole[at : at + step])
        at += step
    assert reader.finish() == inventory.read([whole])


def test_stream_cut_anywhere_never_passes() -> None:
    whole = archive(*EVERYTHING)
    end = len(whole.rstrip(b"\0"))
    end += -end % 512 + 1024  # the two zero blocks; tarfile pads further
    for cut in range(0, end, 97):
        with pytest.raises(BadArchive):
            inventory.read([whole[:cut]])
    with pytest.raises(BadArchive):
        inventory.read([whole[: end - 1]])
    assert inventory.read([whole[:end]]) == inventory.read([whole])


@pytest.mark.parametrize("extra", [b"x", b"x" * 512, archive(root())], ids=["byte", "block", "tar"])
def test_stream_that_goes_on_never_passes(extra: bytes) -> None:
    with pytest.raises(BadArchive):
        inventory.read([archive(root()), extra])


@given(st.integers(0, 511), st.integers(0, 7))
def test_flipped_bit_in_a_header_never_passes_unseen(byte: int, bit: int) -> None:
    whole = bytearray(archive(root(), (member("volume/file"), b"contents")))
    before = inventory.read([bytes(whole)])
    whole[512 + byte] ^= 1 << bit
    try:
        after = inventory.read([bytes(whole)])
    except BadArchive:
        return
    assert after == before  # a checksum spelled otherwise


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        bytes(1024),
        archive(member("volume/a")),
        archive(root(), member("other/a")),
        archive(root(), root()),
        archive((member("volume"), b"a file")),
        archive(root(), member("volume/s", tarfile.GNUTYPE_SPARSE)),
        archive(root(), member("volume/s", pax_headers={"GNU.sparse.major": "1"})),
        archive(root(), member("volume/s", b"V")),
        b"\x1f\x8b" + bytes(2000),
    ],
    ids=[
        *("nothing", "zeros", "no-root", "other-top", "two-roots"),
        *("file", "gnu-sparse", "pax-sparse", "label", "gzip"),
    ],
)
def test_what_cannot_be_a_volume_is_refused(stream: bytes) -> None:
    with pytest.raises(BadArchive):
        inventory.read([stream])


def test_huge_extended_header_is_refused() -> None:
    header = member("PaxHeaders/x", b"x")
    header.size = 1 << 40
    with pytest.raises(BadArchive, match="header of"):
        inventory.read([archive(root())[:512], header.tobuf(tarfile.GNU_FORMAT)])


def test_contents_are_those_of_tarfile() -> None:
    draw = random.Random(5)  # noqa: S311 - no secret
    files = {f"volume/{n}": draw.randbytes(draw.randint(0, 3000)) for n in range(200)}
    whole = archive(root(), *((member(name), data) for name, data in files.items()))
    found = inventory.read([whole])
    assert found.files == len(files)
    assert found.bytes == sum(map(len, files.values()))
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        assert found.entries == len(tar.getmembers())
    assert len(bytes.fromhex(found.tree_sha256)) == hashlib.sha256().digest_size
