"""What is remembered of a client's version, and when it is asked anew. Real files, real times."""

import json
import os
from pathlib import Path

import pytest

from safedocker.command.parse import parse
from safedocker.edge import versions

ELF = b"\x7fELF" + b"\0" * versions._WHOLE_CLIENT
LONG_AGO = 1_700_000_000


class Client:
    """A file that looks like a client, and how often it was asked."""

    def __init__(self, path: Path, said: tuple[int, ...] | None = (26, 1, 5)) -> None:
        self.path = path
        self.said = said
        self.asked = 0
        self.write(ELF)

    def write(self, content: bytes, when: int = LONG_AGO) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_bytes(content)
        os.utime(self.path, (when, when))

    def version(self) -> tuple[int, ...] | None:
        return versions.remembered("docker", (str(self.path),), self._ask)

    def _ask(self) -> tuple[int, ...] | None:
        self.asked += 1
        return self.said


@pytest.fixture(autouse=True)
def _files_are_old(monkeypatch):
    """The time of a file's last change can't be set, so what is new counts as settled at once."""
    monkeypatch.setattr(versions, "_SETTLED_SECONDS", -1.0)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/safedocker/versions.json"


@pytest.fixture
def client(tmp_path, cache):
    return Client(tmp_path / "bin/docker")


def test_an_unchanged_client_is_asked_once(client, cache):
    assert [client.version() for _ in range(3)] == [(26, 1, 5)] * 3
    assert client.asked == 1
    assert cache.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in cache.parent.iterdir()] == ["versions.json"]


def test_a_link_that_leads_elsewhere_is_asked_anew(client, tmp_path):
    other = Client(tmp_path / "other/docker", (28, 5, 2))
    link = tmp_path / "docker"
    link.symlink_to(client.path)
    seen = []
    for target in (client.path, other.path):
        link.unlink()
        link.symlink_to(target)
        asks = (client if target == client.path else other)._ask
        seen.append(versions.remembered("docker", (str(link),), asks))
    assert seen == [(26, 1, 5), (28, 5, 2)]


@pytest.mark.parametrize(
    "change",
    [
        lambda client: client.write(ELF + b"x"),
        lambda client: client.write(ELF, LONG_AGO + 1),
        lambda client: (client.path.unlink(), client.write(ELF)),
        lambda client: os.replace(_copy(client.path), client.path),
    ],
    ids=["grown", "touched", "made anew", "replaced"],
)
def test_a_changed_client_is_asked_anew(client, change):
    client.version()
    change(client)
    client.said = (28, 5, 2)
    assert client.version() == (28, 5, 2)
    assert client.version() == (28, 5, 2)
    assert client.asked == 2


def _copy(path: Path) -> Path:
    other = path.with_name("copy")
    other.write_bytes(path.read_bytes())
    os.utime(other, (LONG_AGO, LONG_AGO))
    return other


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("docker", b'#!/bin/sh\nexec /opt/docker/docker-26 "$@"\n'),
        ("docker-compose", b"#!/usr/bin/python3\n" + b"#" * versions._WHOLE_CLIENT),
        ("docker", b"\x7fELF" + b"\0" * 20_000),
        ("snap", ELF),
    ],
    ids=["a script", "Compose v1", "a small starter", "one program of many names"],
)
def test_what_may_start_another_is_asked_each_time(tmp_path, cache, name, content):
    client = Client(tmp_path / "real" / name)
    client.write(content)
    link = tmp_path / "docker"
    link.symlink_to(client.path)
    for _ in range(2):
        versions.remembered("docker", (str(link),), client._ask)
    assert client.asked == 2
    assert not cache.exists()


def test_a_file_that_changed_a_moment_ago_is_asked_each_time(client, cache, monkeypatch):
    monkeypatch.setattr(versions, "_SETTLED_SECONDS", 60.0)
    client.version()
    client.version()
    assert client.asked == 2


def test_what_is_not_known_is_not_remembered(client, cache):
    client.said = None
    assert client.version() is None
    client.said = (26, 1, 5)
    assert client.version() == (26, 1, 5)


def _make_pipe(cache: Path) -> None:
    cache.unlink()
    os.mkfifo(cache)


@pytest.mark.parametrize(
    "damage",
    [
        lambda cache: cache.write_bytes(b"\xff\x00"),
        lambda cache: cache.write_text("[]"),
        lambda cache: cache.write_text('{"layout": 1, "versions": []}'),
        lambda cache: cache.write_text(cache.read_text().replace("[26, 1, 5]", '"26"')),
        lambda cache: cache.write_text(cache.read_text().replace("[26, 1, 5]", "[true]")),
        lambda cache: cache.write_text(cache.read_text().replace('"layout": 1', '"layout": 2')),
        lambda cache: cache.write_text(cache.read_text()[:-3]),
        lambda cache: cache.write_text(" " * 100_000 + cache.read_text()),
        lambda cache: cache.chmod(0o622),
        _make_pipe,
        lambda cache: (cache.rename(cache.with_name("x")), cache.symlink_to("x")),
    ],
    ids=[
        *("no text", "a list", "no entries", "a text", "a switch", "another layout", "cut off"),
        *("too long", "others may write", "a pipe", "a link"),
    ],
)
def test_a_cache_that_is_not_ours_is_not_believed(client, cache, damage):
    client.version()
    damage(cache)
    client.said = (28, 5, 2)
    assert client.version() == (28, 5, 2)
    assert client.version() == (28, 5, 2)
    assert client.asked == 2
    assert json.loads(cache.read_text())["layout"] == versions.LAYOUT


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_cache_of_somebody_elses_is_not_believed(client, cache):
    client.version()
    os.chown(cache, 12345, 12345)
    client.version()
    assert client.asked == 2


def test_a_cache_that_cannot_be_written_stands_in_nobodys_way(client, cache):
    cache.parent.parent.write_text("a file where a folder should be")
    assert client.version() == (26, 1, 5)


@pytest.mark.parametrize("environ", [{}, {"HOME": "x"}, {"XDG_CACHE_HOME": "x", "HOME": ""}])
def test_without_a_place_nothing_is_remembered(environ):
    assert versions.cache_file(environ) is None


def test_a_relative_cache_folder_does_not_count():
    found = versions.cache_file({"XDG_CACHE_HOME": "x", "HOME": "/h"})
    assert found == Path("/h/.cache/safedocker/versions.json")


def test_only_the_last_clients_are_kept(client, cache, tmp_path):
    for number in range(versions.MOST_KEPT + 5):
        Client(tmp_path / f"{number}/docker").version()
    assert len(json.loads(cache.read_text())["versions"]) == versions.MOST_KEPT


def test_every_file_that_may_be_the_plugin_counts(tmp_path, client):
    (command,) = parse("docker", ["compose", "down"])
    folder, extra = tmp_path / "docker", tmp_path / "extra"
    environ = {"DOCKER_CONFIG": str(folder)}

    def found() -> set[str]:
        files = versions.plugin_binaries(str(client.path), "compose", command, environ)
        return {file for file in files if file.startswith(str(tmp_path))}

    without = found()
    Client(folder / "cli-plugins/docker-compose")
    own = found()
    assert own - without == {str(folder / "cli-plugins/docker-compose")} | (
        own & {str(client.path)}
    )
    Client(extra / "docker-compose")
    assert found() == own
    (folder / "config.json").write_text(json.dumps({"cliPluginsExtraDirs": [str(extra)]}))
    assert found() == own | {str(extra / "docker-compose")}
    (command,) = parse("docker", ["--config", str(extra), "compose", "down"])
    assert str(folder / "cli-plugins/docker-compose") not in found()


@pytest.mark.parametrize(
    ("text", "alias"),
    [
        ('{"aliases": {"builder": "compose"}}', "compose"),
        ('{"aliases": {"builder": 1}}', ""),
        ('{"aliases": []}', ""),
        ("[]", ""),
        ("{", ""),
    ],
)
def test_the_alias_of_builder_stands_in_the_configuration(tmp_path, text, alias):
    (tmp_path / "config.json").write_text(text)
    (command,) = parse("docker", ["--config", str(tmp_path), "builder", "prune"])
    assert versions.builder_alias(command, {}) == alias
