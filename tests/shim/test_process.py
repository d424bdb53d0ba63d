"""What this process finds out about its machine: the engine's socket, paths, the directory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from safedocker.edge import process


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_the_default_socket_is_sure_without_settings(home):
    assert process.local_socket(()) == "/var/run/docker.sock"
    (home / ".docker").mkdir()
    (home / ".docker/config.json").write_text('{"auths": {}}')
    assert process.local_socket((("debug", "true"),)) == "/var/run/docker.sock"


def test_a_socket_of_the_environments_is_sure(home, monkeypatch):
    (home / ".docker").mkdir()
    (home / ".docker/config.json").write_text('{"currentContext": "far"}')
    assert process.local_socket(()) == ""
    monkeypatch.setenv("DOCKER_HOST", "unix:///run/me.sock")
    assert process.local_socket(()) == "/run/me.sock"


@pytest.mark.parametrize("option", ["host", "context", "config"])
def test_an_option_makes_it_unsure(home, option):
    assert process.local_socket(((option, "x"),)) == ""


def test_nobody_can_make_what_is_below_a_file_or_a_link_to_nothing(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "link").symlink_to(".")
    for blocked in ("file/x", "dangling", "dangling/x/y"):
        assert process.is_blocked(str(tmp_path / blocked))
        assert not process.stands(str(tmp_path / blocked))
    for free in ("new", "new/x/y", "link/new"):
        assert not process.is_blocked(str(tmp_path / free))


def test_the_directory_is_called_as_the_shell_calls_it(tmp_path, monkeypatch):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path / "link")
    monkeypatch.setenv("PWD", str(tmp_path / "link"))
    assert process.logical_directory() == str(tmp_path / "link")
    monkeypatch.setenv("PWD", "/")
    assert process.logical_directory() == os.getcwd()
