"""Nothing counts as done that was not read again: copies that lack something, restores that went
nowhere, backups that would go with what they hold."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from safedocker.backup.files import places_of
from tests.engine.conftest import Shell
from tests.engine.test_again import before_it
from tests.engine.test_round_trip import see

pytestmark = pytest.mark.engine

ONE = pytest.mark.parametrize("engine", ["26"], indirect=True)
SPOILS = {
    "a-file-is-missing": (["--lose", "big"], "the engine counts"),
    "the-stream-is-cut": (["--cut", "3000000"], "cut short"),
}


@pytest.fixture
def filled(shell: Shell) -> Shell:
    """A volume with a few files, and a root directory of some account."""
    shell.environ["SAFEDOCKER_PROTECT"] = "archive"
    shell.out("docker volume create data")
    place = shell.place("data")
    (place / "big").write_bytes(os.urandom(5_000_000))
    (place / "small").write_text("small")
    (place / "folder").mkdir()
    os.chown(place, 999, 998)
    place.chmod(0o2700)
    return shell


@pytest.mark.parametrize(("arguments", "sentence"), SPOILS.values(), ids=SPOILS)
def test_s18_a_copy_that_lacks_something_is_no_backup(filled, arguments, sentence):
    """Counts and bytes of source and copy are compared."""
    shell = filled
    before = shell.state()
    with before_it(shell, *arguments, tcp=True) as host:
        done = shell.run("docker volume rm data", DOCKER_HOST=host, SAFEDOCKER_MODE="backup")
    assert done.returncode == 73, done.stderr
    assert sentence in done.stderr
    assert "nothing was removed" in done.stderr
    assert shell.state() == before
    assert shell.backups() == shell.partial() == shell.helpers() == []


def test_s17_a_restore_that_went_nowhere_is_not_called_done(filled):
    """It is read again and compared before undo says that it is there."""
    shell = filled
    before = see(shell.place("data"))
    shell.run("docker volume rm data", check=True, SAFEDOCKER_MODE="backup")
    (backup,) = shell.backups()
    with before_it(shell, "--swallow", tcp=True) as host:
        done = shell.run(f"safedocker undo --any-engine --host {host}")
    assert done.returncode == 1, done.stderr
    assert "was written, but does not hold what the backup holds" in done.stderr
    assert "put back" not in done.stdout
    again = re.search(r"type it again: (safedocker undo \S+)", done.stderr)
    assert again
    assert backup in again[1]
    shell.run(again[1], check=True)
    assert see(shell.place("data")) == before


@ONE
@pytest.mark.parametrize("there", [False, True], ids=["gone", "there-and-empty"])
def test_s19_the_root_directory_s_mode_and_owner_come_back(filled, there):
    """PostgreSQL starts on no other."""
    shell = filled
    shell.run("docker volume rm data", check=True, SAFEDOCKER_MODE="backup")
    if there:
        shell.out("docker volume create data")
    shell.run("safedocker undo", check=True)
    found = shell.place("data").stat()
    assert (found.st_mode & 0o7777, found.st_uid, found.st_gid) == (0o2700, 999, 998)
    writes = "docker run --rm --user 999:998 -v data:/d busybox sh -c 'echo x >/d/new'"
    shell.out(writes)


# S14: backups never live where the command deletes


@pytest.fixture
def mounted(filled: Shell, tmp_path: Path) -> Iterator[Path]:
    """The volume as a container has it: mounted at another place."""
    place = tmp_path / "elsewhere"
    place.mkdir()
    subprocess.run(["mount", "--bind", filled.place("data"), place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


@ONE
@pytest.mark.parametrize("where", ["by-its-path", "mounted-elsewhere"])
def test_s14_a_store_inside_the_volume_that_goes_is_refused(filled, mounted, where):
    shell = filled
    base = mounted if where == "mounted-elsewhere" else shell.place("data")
    before = shell.state()
    done = shell.run("docker volume rm data", XDG_DATA_HOME=str(base), SAFEDOCKER_MODE="backup")
    assert done.returncode == 73, done.stderr
    assert "is inside the volume data that would go: nothing was removed" in done.stderr
    assert "XDG_DATA_HOME" in done.stderr
    assert shell.state() == before
    assert sorted(os.listdir(shell.place("data"))) == ["big", "folder", "small"]
    shell.run("docker volume rm data", check=True, SAFEDOCKER_MODE="backup")


def test_s14_a_container_s_own_files_are_told_by_what_lies_over_what(tmp_path):
    lower, upper, work, merged = (tmp_path / name for name in ("l", "u", "w", "m"))
    for folder in (lower, upper, work, merged):
        folder.mkdir()
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    done = subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, merged], check=False)
    if done.returncode:
        pytest.skip("no overlay here")
    try:
        assert f"{upper}/home/backups" in places_of(merged / "home/backups")
    finally:
        subprocess.run(["umount", merged], check=True)


@ONE
def test_a_backup_s_folder_copied_elsewhere_restores(filled, tmp_path):
    shell = filled
    before = see(shell.place("data"))
    shell.run("docker volume rm data", check=True, SAFEDOCKER_MODE="backup")
    (backup,) = shell.backups()
    other = tmp_path / "other/safedocker/backups"
    shutil.copytree(shell.store / backup, other / backup, ignore=shutil.ignore_patterns("claim"))
    shutil.rmtree(shell.store)
    elsewhere = {"XDG_DATA_HOME": str(tmp_path / "other")}
    told = shell.run(f"safedocker verify {backup}", check=True, **elsewhere).stdout
    assert "data: whole" in told
    shell.run("safedocker undo", check=True, **elsewhere)
    assert see(shell.place("data")) == before
    shell.run(f"safedocker diff {backup}", check=True, **elsewhere)


@ONE
def test_s22_where_room_is_short_the_hint_makes_it(filled, tmp_path):
    """An old backup stands in the way; what the hint says to type lets it go."""
    shell = filled
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100m", "tmpfs", disk], check=True)
    here = {"XDG_DATA_HOME": str(disk), "SAFEDOCKER_MODE": "backup"}
    try:
        shell.run("docker volume rm data", check=True, **here)
        shell.out("docker volume create small; docker volume create large")
        (shell.place("small") / "file").write_text("x")
        shell.run("docker volume rm small", check=True, **here)
        with (shell.place("large") / "zeros").open("wb") as file:
            file.write(bytes(70_000_000))
        done = shell.run("docker volume rm large", **here)
        assert done.returncode == 73
        hint = re.search(r"to let 1 old backup go, 5.0 MB: (safedocker expire .+)", done.stderr)
        assert hint, done.stderr
        shell.run(f"{hint[1]} --yes", check=True, **here)
        shell.run("docker volume rm large", check=True, **here)
        assert "large" not in shell.volumes()
        told = shell.run("safedocker expire --keep-last 1 --dry-run", check=True, **here).stdout
        assert "is the only backup of small, which is gone from its engine" in told
    finally:
        subprocess.run(["umount", disk], check=True)
