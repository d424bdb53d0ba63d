"""What goes wrong in the middle: killed, full, gone, damaged, at once. Each time either the volume
is where it was, or a whole backup of it is there; and the next run is clean."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.engine.conftest import Shell, proxied, until
from tests.engine.test_round_trip import Seen, see
from tests.engines import UnixConnection

LOSE = "docker rm -fv web"  # stops the container for the backup, and takes its anonymous volume


class Web:
    """A container that runs with an anonymous volume that holds data."""

    def __init__(self, shell: Shell, *, big: bool = False) -> None:
        self.shell = shell
        shell.out("docker run -d --name web --init -v /data busybox sleep 1000")
        self.volume = shell.out("docker inspect -f '{{(index .Mounts 0).Name}}' web")
        self.place = shell.place(self.volume)
        (self.place / "rows").write_bytes(os.urandom(8 << 20))
        os.chown(self.place / "rows", 999, 999)
        if big:  # it takes a while to copy, and no room
            shell.environ["SAFEDOCKER_PROTECT"] = "archive"  # one of that size would be moved
            with (self.place / "sparse").open("wb") as sparse:
                sparse.truncate(600 << 20)
        self.before = self.seen()

    def seen(self) -> dict[bytes, Seen]:
        """What the volume holds; of the sparse file, that it is there."""
        sparse = self.place / "sparse"
        if not sparse.exists():
            return see(self.place)
        aside = sparse.rename(self.place.parent / "aside")
        try:
            return see(self.place)
        finally:
            aside.rename(sparse)

    @property
    def there(self) -> bool:
        return self.volume in self.shell.volumes()

    @property
    def runs(self) -> bool:
        return "web" in self.shell.running()

    def assert_untouched(self) -> None:
        """It runs, its volume holds what it held, and nothing of ours is left anywhere."""
        assert self.runs
        assert self.there
        assert self.seen() == self.before
        assert self.shell.helpers() == self.shell.partial() == []

    def assert_not_lost(self) -> None:
        """The volume is there with its contents, or a whole backup is."""
        if self.there:
            assert self.seen() == self.before
        else:
            assert self.shell.backups()


@pytest.fixture
def web(shell: Shell) -> Web:
    return Web(shell)


@pytest.fixture
def big(shell: Shell) -> Web:
    return Web(shell, big=True)


def lose(shell: Shell):
    return shell.run(LOSE, SAFEDOCKER_MODE="backup")


def begin(shell: Shell):
    return shell.begin(LOSE, SAFEDOCKER_MODE="backup")


# Killed


MOMENTS = (
    "claim",
    "volume-1.tar.zst.part",
    "volume-1.tar.zst",
    "manifest.json",
)


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_at_a_moment_nothing_is_lost_and_the_next_run_is_clean(shell, web, moment):
    running = begin(shell)
    assert running.until(moment)
    running.send(signal.SIGKILL).ended()
    web.assert_not_lost()
    assert web.there, "docker had not begun"
    was_stopped = not web.runs
    refused = shell.run(LOSE)
    assert refused.returncode == 77
    assert shell.helpers() == shell.partial() == []
    if was_stopped:
        assert "started again: web" in refused.stderr
    web.assert_untouched()
    assert lose(shell).returncode == 0
    assert not web.there
    assert shell.helpers() == shell.partial() == []
    shell.run("safedocker undo", check=True)
    assert web.seen() == web.before


def test_killed_at_any_time_nothing_is_lost(shell, web):
    """Later each time, until docker has run."""
    delay, kills = 0.1, 0
    while web.there:
        running = begin(shell)
        time.sleep(delay)
        code, _told = running.send(signal.SIGKILL).ended()
        web.assert_not_lost()
        kills += code == -signal.SIGKILL
        delay += 0.2
        deadline = time.monotonic() + 60
        # One that docker had begun to remove is there for a moment longer, and starts no more.
        while web.there and shell.run("docker start web", real=True).returncode:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert kills >= 3
    shell.run("safedocker undo", check=True)
    assert web.seen() == web.before
    assert shell.helpers() == shell.partial() == []


def test_sigterm_in_the_middle_starts_the_containers_again(shell, big):
    running = begin(shell)
    assert running.until("volume-1.tar.zst.part")
    code, told = running.send(signal.SIGTERM).ended()
    assert code == 130
    assert "othing was removed" in told
    big.assert_untouched()
    assert shell.backups() == []


def test_ctrl_c_at_the_progress_bar_starts_the_containers_again(shell, big):
    screen = shell.terminal(f"exec {LOSE}").asked().type("\r")
    deadline = time.monotonic() + 60
    while not list(shell.store.glob("2*/volume-1.tar.zst.part")):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    assert screen.type("\x03").ended() == 130
    big.assert_untouched()
    assert shell.backups() == []


# The store


DISKS = {
    "too-small": ("size=90m", "needs about"),
    "full-midway": ("size=98m", "is full"),  # for 64 MB that do not pack, with 64 to stay free
    "read-only": ("ro", "can't be written"),
}


@pytest.mark.parametrize(("options", "sentence"), DISKS.values(), ids=DISKS)
def test_a_store_without_room_removes_nothing(shell, web, options, sentence):
    """The disk is mounted for this one command, and goes with it."""
    (web.place / "noise").write_bytes(os.urandom(56 << 20))
    web.before = web.seen()
    done = shell.run(
        f"unshare --mount sh -c 'mount -t tmpfs -o {options} tmpfs $XDG_DATA_HOME && {LOSE};"
        " code=$?; find $XDG_DATA_HOME -type f ! -name lock; exit $code'",
        SAFEDOCKER_MODE="backup",
        SAFEDOCKER_PROTECT="archive",
    )
    assert done.returncode == 73
    assert done.stdout == "", "no partial backup is left"
    assert sentence in done.stderr
    assert "othing was removed" in done.stderr
    web.assert_untouched()


def test_where_the_store_has_no_room_it_is_moved_aside(shell, web):
    (web.place / "noise").write_bytes(os.urandom(56 << 20))
    web.before = web.seen()
    disk = shell.store.parent
    disk.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=90m", "tmpfs", disk], check=True)
    try:
        done = shell.run(LOSE, check=True, SAFEDOCKER_MODE="backup")
        assert "moved 1 volume" in done.stderr
        shell.run("safedocker undo", check=True)
        assert web.seen() == web.before
        until(lambda: not shell.behind())
    finally:
        subprocess.run(["umount", disk], check=True)


def test_what_takes_no_room_needs_none(shell26: Shell) -> None:
    """Where less is free than has to stay free besides a copy."""
    shell, disk = shell26, shell26.store.parent
    shell.out("docker volume create data; docker volume create empty")
    (shell.place("data") / "rows").write_bytes(b"1\n")
    disk.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", disk], check=True)
    shell.environ["SAFEDOCKER_MODE"] = "backup"
    try:
        copy = shell.run("docker volume rm data", SAFEDOCKER_PROTECT="archive")
        assert copy.returncode == 73
        told = "needs about 1 B, besides 67.1 MB that stay free, in .+, where 3.1 MB are free: n"
        assert re.search(told, copy.stderr)
        for protect in ("move", "auto"):
            done = shell.run("docker volume rm data", check=True, SAFEDOCKER_PROTECT=protect)
            assert "moved 1 volume" in done.stderr
            shell.run("safedocker undo", check=True)
            assert (shell.place("data") / "rows").read_bytes() == b"1\n"
        shell.run("docker volume rm empty", check=True)
        assert len(shell.backups()) == 3
        (disk / "more").write_bytes(bytes(3_050_000))
        full = shell.run("docker volume rm data", SAFEDOCKER_PROTECT="move")
        assert full.returncode == 73
        assert re.search(r"needs about 131 kB in .+, where \d+\.\d kB are free", full.stderr)
    finally:
        subprocess.run(["umount", disk], check=True)
    assert shell.volumes() == {"data"}


DAMAGE = {
    "truncated-manifest": ("manifest.json", lambda text: text[: len(text) // 2], "manifest"),
    "empty-manifest": ("manifest.json", lambda _text: b"", "manifest"),
    "truncated-part": ("volume-1.tar.zst", lambda text: text[: len(text) // 2], "damaged"),
    "changed-part": (
        "volume-1.tar.zst",
        lambda text: text[:5000] + bytes([text[5000] ^ 1]) + text[5001:],
        "damaged",
    ),
    "part-gone": ("volume-1.tar.zst", None, "can't be read"),
}


def test_a_damaged_backup_is_refused_with_a_sentence_and_a_whole_copy_restores(shell, web):
    assert lose(shell).returncode == 0
    (backup,) = shell.backups()
    kept = shell.home / "kept"
    shutil.copytree(shell.store / backup, kept)
    shell.out("docker volume create other")
    for name, (file, damage, sentence) in DAMAGE.items():
        place = shell.store / backup / file
        place.write_bytes(damage(place.read_bytes())) if damage else place.unlink()
        done = shell.run("safedocker undo")
        assert done.returncode == 1, name
        assert sentence in done.stderr, name
        assert "Traceback" not in done.stderr
        assert "bug" not in done.stderr
        assert shell.volumes() == {"other"}, name
        if file == "manifest.json":
            assert "damaged" in shell.run("safedocker backups", check=True).stdout
        shutil.rmtree(shell.store / backup)
        shutil.copytree(kept, shell.store / backup)
    for unknown in ("20200101-000000-aaaa", "nosuch", "../kept"):
        done = shell.run(f"safedocker undo {unknown}")
        assert done.returncode == 1
        assert f"there is no backup '{unknown}'" in done.stderr
    assert shell.volumes() == {"other"}
    shell.run("safedocker undo", check=True)
    assert web.seen() == web.before
    assert shell.helpers() == []


# The engine


def test_an_engine_that_goes_away_in_the_middle_loses_nothing(shell, big):
    running = begin(shell)
    assert running.until("volume-1.tar.zst.part")
    shell.engine.stop()
    code, told = running.ended()
    assert code == 73
    assert "othing was removed" in told
    assert "docker start web" in told
    assert "bug" not in told
    shell.engine.start()
    assert big.there
    assert big.seen() == big.before
    assert shell.backups() == []
    assert "started again: web" in shell.run(LOSE).stderr
    assert shell.running() == {"web"}
    assert shell.helpers() == shell.partial() == []


def test_without_an_engine_the_command_does_not_run(shell):
    done = shell.run("docker volume rm data", DOCKER_HOST="unix:///nonexistent/docker.sock")
    assert done.returncode == 69
    assert "othing was removed" in done.stderr


def test_the_preview_of_three_hundred_volumes_comes_in_time(shell):
    connection = UnixConnection(shell.engine.socket)
    places = []
    for number in range(300):
        body = f'{{"Name": "crowd-{number}"}}'
        connection.request(
            "POST", "/volumes/create", body, headers={"Content-Type": "application/json"}
        )
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 201
        places.append(Path(shell.engine.data_root, "volumes", f"crowd-{number}", "_data"))
    connection.close()
    for place in places:
        (place / "file").write_bytes(bytes(5000))
    started = time.monotonic()
    every = "" if shell.engine.version == "20" else "-a"
    done = shell.run(f"docker volume prune -f {every}")
    assert time.monotonic() - started < 15
    assert done.returncode == 77
    assert "300 volumes" in done.stderr
    assert "crowd-299" in done.stderr
    assert len(shell.volumes()) == 300
    assert shell.helpers() == []


# Somebody else, meanwhile


def data(shell: Shell, name: str) -> Path:
    shell.out(f"docker volume create {name}")
    place = shell.place(name)
    (place / "rows").write_bytes(os.urandom(1 << 20))
    return place


def test_a_volume_that_is_used_since_the_question_is_not_copied_live(shell):
    before = see(data(shell, "data"))
    screen = shell.terminal("docker volume rm data").asked()
    shell.out("docker run -d --name late --init -v data:/d busybox sleep 1000")
    assert screen.type("\r").ended() != 0
    assert "late" in screen.text
    assert see(shell.place("data")) == before
    assert shell.running() == {"late"}
    assert shell.backups() == shell.partial() == shell.helpers() == []


def test_s28_what_came_after_the_question_is_asked_for_again(shell):
    before = see(data(shell, "early"))
    every = "" if shell.engine.version == "20" else "-a"
    screen = shell.terminal(f"docker volume prune -f {every}").asked()
    assert "later" not in screen.text
    data(shell, "later")
    screen.type("\r").wait("more would go now", "later").asked()
    assert screen.type("\x03").ended() == 130
    assert shell.volumes() == {"early", "later"}
    assert see(shell.place("early")) == before
    assert shell.helpers() == shell.partial() == []


COMPOSE = """
services:
  web: {image: busybox, init: true, command: sleep 1000, volumes: ["data:/data"]}
volumes: {data: }
"""


@pytest.mark.parametrize("form", ["volume-rm", "down"])
def test_two_at_once_lose_nothing(shell, form):
    line = "docker volume rm app_data"
    if form == "down":
        header = 'version: "2.4"\n' if shell.engine.version == "20" else ""
        (shell.home / "docker-compose.yml").write_text(header + COMPOSE)
        line = f"{shell.compose} -p app down -v"
        shell.out(f"{shell.compose} -p app up -d")
    place = data(shell, "app_data")
    before = see(place)
    both = [shell.begin(line, SAFEDOCKER_MODE="backup") for _ in range(2)]
    ends = [one.ended() for one in both]
    codes = {code for code, _told in ends}
    assert codes <= {0, 1, 69, 73}, ends
    assert shell.helpers() == shell.partial() == []
    if "app_data" in shell.volumes():
        assert see(place) == before
        assert shell.run(line, SAFEDOCKER_MODE="backup").returncode == 0
    assert "app_data" not in shell.volumes()
    shell.run(f"safedocker undo {shell.backups()[0]}", check=True)
    assert see(shell.place("app_data")) == before


def test_what_lies_deeper_than_the_engine_sees_is_not_lost(shell26: Shell) -> None:
    """Its archive leaves out, without a word, what is below the longest path there is."""
    shell = shell26
    place = data(shell, "deep")
    here = os.open(place, os.O_RDONLY)
    for _ in range(18):
        os.mkdir("n" * 250, dir_fd=here)
        inner = os.open("n" * 250, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    file = os.open("rows", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=here)
    os.write(file, b"precious\n")
    os.close(file)
    os.close(here)
    with proxied(shell.engine, tcp=True) as host:
        done = shell.run(
            "docker volume rm deep",
            DOCKER_HOST=host,
            SAFEDOCKER_MODE="backup",
            SAFEDOCKER_PROTECT="archive",
        )
    assert done.returncode == 73, done.stderr
    assert "paths so long" in done.stderr
    assert shell.volumes() == {"deep"}
    assert shell.backups() == []
    shell.run("docker volume rm deep", check=True, SAFEDOCKER_MODE="backup")
    shell.run("safedocker undo", check=True)
    found = subprocess.run(
        ["find", shell.place("deep"), "-name", "rows"], capture_output=True, check=True
    )
    assert len(found.stdout.splitlines()) == 2
