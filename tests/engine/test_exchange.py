"""export and import, against the commands that every tutorial has, run by a real docker: people can
leave with what we write, and arrive with what they have."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import stat
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.conftest import ROOT, Shell
from tests.engine.test_round_trip import Seen, fill, see
from tests.engine.test_tar_way import access, see_finely
from tests.engines import PrivateEngine

TAKE = (
    "docker run --rm -v {volume}:/data -v $PWD:/backup busybox tar czf /backup/x.tar.gz -C /data ."
)
TAKE_ALL = (
    "docker run --rm -v {volume}:/data -v $PWD:/backup busybox tar czf /backup/x.tar.gz /data"
)
# Of vackup, which imported such an archive to the wrong place without a word: S17, vackup#29.
VACKUP = (
    "docker run --rm -v {volume}:/vackup-volume -v $PWD:/vackup busybox "
    "tar -zcf /vackup/x.tar.gz /vackup-volume"
)
PUT = "docker run --rm -v {volume}:/data -v $PWD:/backup busybox tar xzf /backup/x.tar.gz -C /data"


def everything(shell: Shell, name: str) -> dict[bytes, Seen]:
    """A volume with one of everything in it; return what that is."""
    shell.out(f"docker volume create {name}")
    fill(shell.place(name))
    return see(shell.place(name))


def without(seen: dict[bytes, Seen], *, unpacked: bool = False) -> dict[bytes, Seen]:
    """What busybox's tar keeps of it: no capability; and what it unpacks again: no times of folders
    and links, no owners of links."""
    told = {path: one._replace(capability=b"") for path, one in seen.items()}
    if unpacked:
        told = {path: one._replace(mtime=0) for path, one in told.items()}
        told |= {p: o._replace(gid=0) for p, o in told.items() if stat.S_ISLNK(o.mode)}
    return told


@pytest.fixture
def shell26(engine26: PrivateEngine, home: Path) -> Iterator[Shell]:
    """For what hangs on no engine's version."""
    with engine26.swept():
        yield Shell(engine26, home)


def test_leave_with_the_tutorials_restore(shell: Shell, tmp_path: Path) -> None:
    before = everything(shell, "data")
    done = shell.run("safedocker export data x.tar.gz", check=True)
    assert "read back and compared" in done.stdout
    assert (shell.home / "x.tar.gz").stat().st_mode & 0o777 == 0o600
    shell.out("docker volume create there")
    shell.out(PUT.format(volume="there"))
    assert without(see(shell.place("there")), unpacked=True) == without(before, unpacked=True)
    tar = ("tar", "-xpz", "--numeric-owner", "--xattrs", "--xattrs-include=*")
    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    subprocess.run([*tar, "-f", shell.home / "x.tar.gz", "-C", unpacked], check=True)
    assert see(unpacked) == before, "GNU tar keeps all of it"
    again = shell.run("safedocker export data x.tar.gz")
    assert again.returncode == 1
    assert "there already" in again.stderr
    assert shell.partial() == shell.helpers() == shell.backups() == []


def test_arrive_with_the_tutorials_backup(shell26: Shell) -> None:
    before = everything(shell26, "data")
    shell26.out(TAKE.format(volume="data"))
    done = shell26.run("safedocker import x.tar.gz new", check=True)
    assert "owner 999:998, mode 2700" in done.stdout
    assert see(shell26.place("new")) == without(before)
    assert shell26.definition("new")["Labels"] == {}
    assert shell26.partial() == shell26.helpers() == shell26.backups() == []


def test_s17_one_folder_around_all_is_asked_about_and_never_guessed(shell26: Shell) -> None:
    take, top = VACKUP, "vackup-volume"
    before = everything(shell26, "data")
    shell26.out(take.format(volume="data"))
    refused = shell26.run("safedocker import x.tar.gz new")
    assert refused.returncode == 1
    assert (
        f"is {top}/ the volume itself: safedocker import x.tar.gz new --strip 1" in refused.stderr
    )
    assert shell26.volumes() == {"data"}
    shell26.run("safedocker import x.tar.gz new --strip 1", check=True)
    assert see(shell26.place("new")) == without(before)
    shell26.run("safedocker import x.tar.gz below --strip 0", check=True)
    assert without(see(shell26.place("below") / top), unpacked=True) == without(
        before, unpacked=True
    )


def test_s19_the_roots_owner_and_mode_come_back(shell26: Shell) -> None:
    shell26.out("docker volume create data")
    place = shell26.place("data")
    (place / "PG_VERSION").write_text("15\n")
    os.chown(place, 70, 71)
    place.chmod(0o700)
    for take, strip in ((TAKE, ""), (TAKE_ALL, "--strip 1")):
        shell26.out(take.format(volume="data"))
        shell26.run(f"safedocker import x.tar.gz new {strip}", check=True)
        assert see(shell26.place("new")) == see(place)
        shell26.out("docker volume rm new")
    shell26.run("safedocker export data y.tar", check=True)
    shell26.run("safedocker import y.tar new", check=True)
    assert see(shell26.place("new")) == see(place)


def test_from_one_volume_into_another_by_a_pipe(shell26: Shell) -> None:
    before = everything(shell26, "data")
    for form in ("", "--format .tar.zst"):
        line = f"safedocker export data - {form} | safedocker import - new"
        shell26.run(f"set -e; {line}", check=True)
        assert see(shell26.place("new")) == before
        shell26.out("docker volume rm new")
    assert shell26.partial() == []


def test_a_running_container_is_paused_for_the_export(shell26: Shell) -> None:
    everything(shell26, "data")
    shell26.out("docker run -d --name web --init -v data:/srv busybox sleep 1000")
    done = shell26.run("safedocker export data", check=True)
    assert "paused: web" in done.stdout
    assert (shell26.home / "data.tar.gz").exists()
    assert shell26.running() == {"web"}
    assert "paused" not in shell26.out("docker ps").lower()
    refused = shell26.run("safedocker export data --refuse y.tar.gz")
    assert refused.returncode == 73
    assert not list(shell26.home.glob("*y.tar.gz*"))


def test_a_volume_that_holds_data_is_only_replaced_after_a_backup(shell26: Shell) -> None:
    before = everything(shell26, "data")
    shell26.run("safedocker export data x.tar.gz", check=True)
    shell26.out("docker volume create --label a=b other")
    (shell26.place("other") / "mine").write_text("since")
    refused = shell26.run("safedocker import x.tar.gz other")
    assert refused.returncode == 1
    assert "--overwrite" in refused.stderr
    shell26.out("docker run -d --name web --init -v other:/srv busybox sleep 1000")
    assert "docker stop web" in shell26.run("safedocker import x.tar.gz other --overwrite").stderr
    shell26.out("docker stop web")
    assert "docker rm web" in shell26.run("safedocker import x.tar.gz other --overwrite").stderr
    shell26.out("docker rm web")
    assert (shell26.place("other") / "mine").read_text() == "since"
    assert shell26.backups() == []
    shell26.run("safedocker import x.tar.gz other --overwrite", check=True)
    assert see(shell26.place("other")) == before
    assert shell26.definition("other")["Labels"] == {"a": "b"}
    shell26.run("safedocker undo --overwrite", check=True)
    assert (shell26.place("other") / "mine").read_text() == "since"


def test_attributes_of_gnu_tar_come_in_too(shell26: Shell, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    os.setxattr(tmp_path / "file", "user.note", b"kept")
    tar = ("tar", "-c", "--xattrs", "--acls", "-f", shell26.home / "x.tar", "-C", tmp_path, ".")
    subprocess.run(tar, check=True)
    shell26.run("safedocker import x.tar new", check=True)
    assert os.getxattr(shell26.place("new") / "file", "user.note") == b"kept"


def test_a_folder_behind_what_is_in_it_comes_in_with_its_mode_and_whole_time(
    shell26: Shell,
) -> None:
    made = shell26.home / "made"
    (made / "closed/deep").mkdir(parents=True)
    (made / "closed/deep/file").write_text("x")
    os.setxattr(made / "closed", "system.posix_acl_default", access(other=0))
    (made / "closed").chmod(0o500)
    for name in ("closed", "closed/deep/file"):
        os.utime(made / name, ns=(0, 1_700_000_000_123_456_789))
    names = ("closed/deep/file", "closed/deep", "closed", ".")
    whole = ("tar", "-c", "--format=pax", "--no-recursion", "-f")
    lists = ("--xattrs", "--xattrs-include=*")
    subprocess.run([*whole, "../words.tar", "--acls", *names], cwd=made, check=True)
    subprocess.run([*whole, "../x.tar", *lists, *names], cwd=made, check=True)
    told = shell26.run("safedocker import words.tar words", check=True).stdout
    assert "not taken over: access control lists (of 1 entries)" in told
    told = shell26.run("safedocker import x.tar new", check=True).stdout
    assert "not " not in told
    place = shell26.place("new")
    assert see_finely(place) == see_finely(made)
    assert (place / "closed").stat().st_mode & 0o7777 == 0o500
    assert (place / "closed/deep/file").read_text() == "x"


def test_an_empty_volume_is_filled_and_keeps_what_the_archive_does_not_say(shell26: Shell) -> None:
    shell26.out("docker volume create --label a=b new")
    os.chown(shell26.place("new"), 33, 33)
    os.setxattr(shell26.place("new"), "system.posix_acl_default", access(other=0))
    (shell26.home / "one").mkdir()
    (shell26.home / "one/a").write_text("a")
    (shell26.home / "two").write_text("b")
    subprocess.run(["tar", "cf", "x.tar", "one", "two"], cwd=shell26.home, check=True)
    shell26.run("safedocker import x.tar new", check=True)
    place = shell26.place("new")
    assert ((place / "one/a").read_text(), (place / "two").read_text()) == ("a", "b")
    assert (place.stat().st_uid, place.stat().st_gid) == (33, 33)
    assert os.getxattr(place, "system.posix_acl_default") == access(other=0)
    assert (place / "two").stat().st_mode & 0o7777 == (shell26.home / "two").stat().st_mode & 0o7777
    assert shell26.definition("new")["Labels"] == {"a": "b"}


def test_what_is_cut_short_or_points_elsewhere_changes_nothing(shell26: Shell) -> None:
    everything(shell26, "data")
    shell26.out("docker volume create empty")
    shell26.run("safedocker export data whole.tar.gz", check=True)
    whole = (shell26.home / "whole.tar.gz").read_bytes()
    (shell26.home / "cut.tar.gz").write_bytes(whole[: len(whole) // 2])
    (shell26.home / "cut.tar").write_bytes(gzip.decompress(whole)[: 2 << 20])
    for name in ("../outside", "/etc/passwd"):
        with tarfile.open(shell26.home / f"{len(name)}.tar", "w") as tar:
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    before = shell26.state()
    names = {"cut.tar.gz": "cut short", "cut.tar": "cut short"}
    names |= {"10.tar": "outside of the volume", "11.tar": "outside of the volume"}
    for name, told in names.items():
        for target in ("empty", "new"):
            refused = shell26.run(f"safedocker import {name} {target}")
            assert refused.returncode == 1
            assert told in refused.stderr
            assert "nothing was changed" in refused.stderr
    refused = shell26.run("head -c 5000 whole.tar.gz | safedocker import - new")
    assert "cut short" in refused.stderr
    shell26.run("gzip -dc whole.tar.gz | xz -0 > whole.tar.xz", check=True)
    refused = shell26.run("safedocker import whole.tar.xz new")
    assert "it is packed with xz: nothing was changed" in refused.stderr
    assert "on the way: xz -dc whole.tar.xz | safedocker import - new\n" in refused.stderr
    assert "make it again" not in refused.stderr
    after = shell26.state()
    assert [one["Name"] for one in after["volumes"]] == ["data", "empty"]  # type: ignore[attr-defined]  # JSON
    assert after["containers"] == before["containers"]
    assert not any(shell26.place("empty").iterdir())
    assert shell26.partial() == shell26.helpers() == []


def test_a_disk_that_fills_up_is_told_and_leaves_no_half_of_a_file(
    shell26: Shell, tmp_path: Path
) -> None:
    everything(shell26, "data")
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small], check=True)
    try:
        refused = shell26.run(f"safedocker export data {small}/x.tar")
        assert refused.returncode == 1
        assert "can't be written: No space left" in refused.stderr
        assert not any(small.iterdir())
    finally:
        subprocess.run(["umount", small], check=True)
    shutil.rmtree(small)
    shell26.run("safedocker export data x.tar", check=True)
    shell26.out("docker volume create -o type=tmpfs -o device=tmpfs -o o=size=1m memory")
    refused = shell26.run("safedocker import x.tar memory")
    assert refused.returncode == 73
    assert "no space" in refused.stderr.lower()


def test_an_export_that_is_killed_leaves_nothing_and_one_that_is_not_tells_whole_times(
    shell26: Shell,
) -> None:
    everything(shell26, "data")
    os.utime(shell26.place("data") / "file", ns=(1, 1_700_000_000_123_456_789))
    told = shell26.home / "steps"
    driver = Path(__file__).with_name("dying.py")

    def run(last: int) -> list[str]:
        words = ("own", str(ROOT), "export", "data", "x.tar")
        argv = [sys.executable, str(driver), str(told), str(last), "", *words]
        environ = {**shell26.environ, "PYTHONPATH": str(ROOT)}
        subprocess.run(argv, env=environ, cwd=shell26.home, capture_output=True, check=False)
        steps = told.read_text().splitlines()
        told.unlink()
        return steps

    run(10_000)  # the first one makes folders too
    (shell26.home / "x.tar").unlink()
    steps = run(10_000)
    with tarfile.open(shell26.home / "x.tar") as tar:
        assert tar.getmember("./file").pax_headers["mtime"] == "1700000000.123456789"
    (shell26.home / "x.tar").unlink()
    named = next(number for number, step in enumerate(steps, 1) if step.startswith("os.link"))
    assert run(named)[-1].startswith("os.link")
    assert not list(shell26.home.glob("*x.tar*"))
    shell26.run("safedocker export data x.tar", check=True)
    assert (shell26.partial(), shell26.helpers()) == ([], [])


def test_a_volume_that_can_t_be_filled_tells_where_what_it_held_is(shell26: Shell) -> None:
    shell = shell26
    shell.out("docker volume create old")
    (shell.place("old") / "rows").write_text("precious\n")
    (shell.home / "big").write_bytes(os.urandom(8 << 20))
    shell.out("tar -czf x.tar.gz big")
    done = shell.run("ulimit -f 2048; safedocker import x.tar.gz old --overwrite")
    assert done.returncode not in {0, 70}, done.stderr
    assert "can't be written" in done.stderr
    backup = done.stderr.rpartition("is in the backup ")[2].split()[0]
    shell.run(f"safedocker undo {backup}", check=True)
    assert (shell.place("old") / "rows").read_text() == "precious\n"
