"""Owners in tar streams of engines that remap users."""

from __future__ import annotations

import io
import tarfile

from hypothesis import given
from hypothesis import strategies as st

from safedocker.edge.ids import Remap, find_remap, of_containers

BASE = Remap(200_000, 300_000)
FAR = Remap(3_000_000, 4_000_000)  # above what a header holds: extended records tell it

MEMBERS = st.lists(
    st.tuples(
        st.text("aé/ \n", min_size=1, max_size=120),
        st.integers(0, 70_000),
        st.integers(0, 70_000),
        st.binary(max_size=1500),
    ),
    max_size=5,
)


def archive(members, remap: Remap, form=tarfile.PAX_FORMAT) -> bytes:
    """As the engine sends it: on its host the ids are others."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for name, uid, gid, content in members:
            info = tarfile.TarInfo(name)
            info.uid = uid + remap.uid if uid < 65_536 else uid
            info.gid = gid + remap.gid if gid < 65_536 else gid
            info.size = len(content)
            info.mtime = 1.5
            info.pax_headers = {"SCHILY.xattr.user.x": "x"} if form == tarfile.PAX_FORMAT else {}
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def read(stream: bytes):
    told = []
    with tarfile.open(fileobj=io.BytesIO(stream)) as tar:
        for one in tar:
            held = tar.extractfile(one)
            assert held is not None
            told.append((one.name, one.uid, one.gid, held.read(), one.pax_headers.keys() - OWNERS))
    return told


OWNERS = {"uid", "gid"}
NOBODY = Remap(0, 0)


@given(MEMBERS, st.integers(1, 700), st.sampled_from([BASE, FAR]), st.booleans())
def test_every_stream_has_the_ids_of_containers_wherever_it_is_cut(members, size, remap, gnu):
    form = tarfile.GNU_FORMAT if gnu else tarfile.PAX_FORMAT
    sent = archive(members, remap, form)
    pieces = [sent[at : at + size] for at in range(0, len(sent), size)]

    came = b"".join(of_containers(pieces, remap))

    assert read(came) == read(archive(members, NOBODY, form))


@given(st.binary(max_size=3000))
def test_what_is_no_tar_passes(junk):
    came = b"".join(of_containers([junk], BASE))
    assert len(came) >= len(junk) - 512


def test_a_cut_stream_stays_cut():
    sent = archive([("a", 1, 2, b"x" * 5000)], BASE)[:3000]
    assert len(b"".join(of_containers([sent], BASE))) == 3000


def test_only_an_engine_that_remaps_is_one():
    security = ["name=seccomp,profile=default", "name=userns"]
    assert find_remap("/var/lib/docker/200000.300000", security) == BASE
    assert find_remap("/var/lib/docker", security) is None
    assert find_remap("/var/lib/docker/200000.300000", security[:1]) is None
