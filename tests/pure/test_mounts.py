"""Which host paths a command mounts, and which of them Docker makes: the rules, without an engine.

What Docker really does with such words is tests/engine/test_host_paths.py's.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safedocker.command.parse import Clients, parse
from safedocker.loss import mounts, nearby
from safedocker.loss.mounts import Bind, Mounts

HERE = "/home/me/app"
CLIENTS = {"20": (20, 10, 24), "26": (26, 1, 5), "28": (28, 5, 2), "29": (29, 7, 2)}


def read(*words: str, client: str | None = "28") -> Mounts:
    version = CLIENTS[client] if client else None
    command = parse("docker", ["run", *words, "img"], Clients(docker=version))[0]
    assert not command.error
    return mounts.read(command, version, HERE)


def made(*words: str, client: str | None = "28") -> list[str]:
    return [bind.source for bind in read(*words, client=client).makes]


def test_what_is_mounted_is_absolute_and_clean():
    assert read("-v", "/a//b/../c/:/x/../y/:ro").makes == (Bind("/a/c", "/y"),)


@pytest.mark.parametrize(
    ("client", "spec", "expected"),
    [
        ("20", "./d:/x", None),
        ("26", "./d:/x", f"{HERE}/d"),
        ("26", "../d:/x", None),
        ("26", ".d:/x", None),
        ("28", "../d:/x", "/home/me/d"),
        ("28", ".d:/x", f"{HERE}/.d"),
        ("20", "/d:/x:", "/d"),
        ("26", "/d:/x:", None),
    ],
)
def test_relative_sources_are_read_as_the_client_reads_them(client, spec, expected):
    told = read("-v", spec, client=client)
    assert [bind.source for bind in told.makes] == ([expected] if expected else [])
    assert bool(told.refused) == (expected is None)


def test_unknown_client_counts_every_reading():
    assert made("-v", "./d:/x", "-v", "../e:/y", client=None) == [f"{HERE}/d", "/home/me/e"]
    assert read("-v", "/d:/x:bogus", client=None).refused


def test_volumes_are_no_host_paths():
    assert read("-v", "/x", "-v", "name:/y", "-v", "a:/z", "--mount", "src=n2,dst=/q") == Mounts()


def test_mount_needs_its_source_and_makes_it_only_when_told_to():
    assert read("--mount", "type=bind,src=/d,dst=/x").needs == (Bind("/d", "/x"),)
    asked = "type=bind,src=/d,dst=/x,bind-create-src"
    assert read("--mount", asked).refused
    assert made("--mount", asked, client="29") == ["/d"]
    assert not made("--mount", asked + "=false", client="29")


def test_quoted_fields_of_mount():
    assert read("--mount", 'type=bind,"src=/a,b ""c""",dst=/x').needs == (Bind('/a,b "c"', "/x"),)
    for wrong in ('type=bind,src="/a",dst=/x', 'type=bind,"src=/a"b,dst=/x', 'type=bind,"src=/a'):
        assert read("--mount", wrong).refused


def test_two_mounts_on_one_target_are_refused():
    assert read("-v", "/d:/x", "-v", "/e:/x/").refused
    assert read("-v", "/d:/x", "--tmpfs", "/x:size=1m").refused
    assert not read("-v", "/d:/x", "--tmpfs", "/x/").refused
    assert not read("-v", "/d:/x", "-v", "/d:/x").refused


def test_donors_are_named_once_without_their_mode():
    assert read("--volumes-from", "a:ro", "--volumes-from", "a").donors == ("a",)


@given(st.lists(st.text(alphabet=":/.,=\"'~aCü -\udcff\n", max_size=12), max_size=4))
def test_any_words_can_be_read(specs):
    words = [word for spec in specs for word in (f"--volume={spec}", f"--mount={spec}")]
    for client in CLIENTS:
        told = read(*words, f"--tmpfs={''.join(specs)}", client=client)
        assert all(bind.source.startswith("/") for bind in told.makes + told.needs)


def test_near_names():
    assert nearby.nearest("dits", ["src", "dist", "Dits"]) == ("Dits", "dist")
    assert nearby.nearest("config.yml", ["config.yaml", "other"]) == ("config.yaml",)
    assert nearby.nearest("a", ["b", "A"]) == ("A",)
    assert nearby.nearest("x" * 40, ["y" * 40]) == ()


@given(st.text(max_size=8), st.text(max_size=8))
def test_distance_is_even_handed(one, other):
    assert nearby.distance(one, other, 9) == nearby.distance(other, one, 9)
    assert (nearby.distance(one, other, 0) == 0) == (one == other)


def test_files_are_told_by_both_names():
    assert nearby.looks_like_file("/a/nginx.conf", "/etc/nginx/nginx.conf")
    assert not nearby.looks_like_file("/a/conf.d", "/etc/nginx/conf.d")
    assert not nearby.looks_like_file("/a/my.app", "/app")
