"""The other names of an engine: spellings of its address, contexts that lead to it."""

from __future__ import annotations

import hashlib
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safedocker.edge import address, aliases


@pytest.fixture
def box(tmp_path, monkeypatch):
    """A home with two contexts of one engine, one of another, and what nobody can read."""
    monkeypatch.setenv("HOME", str(tmp_path))
    meta = tmp_path / ".docker/contexts/meta"
    for name, host in {
        "prod": "ssh://me@Box",
        "copy": "ssh://other@box:22/",
        "dev": "tcp://dev:2375",
    }.items():
        place = meta / hashlib.sha256(name.encode()).hexdigest()
        place.mkdir(parents=True)
        told = {"Name": name, "Endpoints": {"docker": {"Host": host}}}
        (place / "meta.json").write_text(json.dumps(told))
    for number, text in enumerate(("", "[]", "{", '{"Name": 1}', '{"Name": "x", "Endpoints": 1}')):
        (meta / f"odd{number}").mkdir()
        (meta / f"odd{number}/meta.json").write_text(text)
    (meta / "no-folder").write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("tcp://1.2.3.4:2375", "tcp://1.2.3.4:2375/"),
        ("tcp://1.2.3.4", "tcp://1.2.3.4:2375"),
        ("tcp://Host.Example:2375", "tcp://host.example."),
        ("tcp://localhost:2375", "tcp://127.0.0.1:2375"),
        ("tcp://localhost", "tcp://[::1]:2375"),
        ("ssh://me@box", "ssh://box:22"),
        ("ssh://box/run/x.sock", "ssh://you@BOX/run/x.sock"),
        ("unix://", "unix:///var/run/docker.sock"),
        ("unix:///dev/../dev/null", "unix:///dev/null"),
    ],
)
def test_these_are_the_same_engine(one, other):
    assert aliases.canonical(one) == aliases.canonical(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("tcp://1.2.3.4:2375", "tcp://1.2.3.4:2376"),
        ("tcp://a:2375", "ssh://a:2375"),
        ("ssh://box/run/x.sock", "ssh://box/run/y.sock"),
        ("unix:///run/a.sock", "unix:///run/A.sock"),
    ],
)
def test_these_are_not(one, other):
    assert aliases.canonical(one) != aliases.canonical(other)


def test_links_to_a_socket_are_followed(tmp_path):
    (tmp_path / "real.sock").touch()
    (tmp_path / "link.sock").symlink_to("real.sock")
    assert ("host", f"unix://{tmp_path}/real.sock") in aliases.known(
        f"unix://{tmp_path}/link.sock", ()
    )
    real = os.path.realpath(aliases.DEFAULT_PATH)
    found = aliases.known(f"unix://{real}", ())
    assert ("context", "default") in found
    assert ("host", f"unix://{aliases.DEFAULT_PATH}") in found or real == aliases.DEFAULT_PATH


@pytest.mark.usefixtures("box")
def test_every_context_of_an_engine_is_known_however_it_is_reached():
    for options, environ in (
        ({"context": "copy"}, {}),
        ({"host": "ssh://box"}, {}),
        ({}, {"DOCKER_HOST": "ssh://anna@box:22"}),
    ):
        found = address.resolve(options, {"HOME": os.environ["HOME"], **environ}).also
        assert {name for table, name in found if table == "context"} == {"prod", "copy"}, options
        assert ("host", "ssh://box:22") in found


def test_a_context_of_another_configuration_does_not_hide_that_of_the_home(box):
    own = box / "own"
    own.mkdir()
    environ = {"HOME": str(box), "DOCKER_CONFIG": str(own), "DOCKER_HOST": "ssh://box"}
    assert ("context", "prod") in address.resolve({}, environ).also


@pytest.mark.usefixtures("box")
def test_what_only_a_variable_calls_a_context_is_doubted():
    """The account's own configuration has none of this name: HOME is another."""
    environ = {"HOME": os.environ["HOME"]}
    assert address.resolve({"context": "prod"}, environ).doubted
    assert address.resolve({"host": "tcp://dev"}, environ).doubted
    assert not address.resolve({}, environ).doubted
    assert not address.resolve({"host": "unix:///run/x.sock"}, environ).doubted


@given(st.text(max_size=40), st.sampled_from(["tcp://", "ssh://", "unix://", "", "npipe://"]))
def test_any_address_has_one_spelling_that_stays(text, scheme):
    once = aliases.canonical((scheme + text).replace("\0", ""))
    assert aliases.canonical(once) == once
