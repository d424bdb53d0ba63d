"""safedocker's own commands as a person types them, on a store of real files, without an engine."""

import contextlib
import datetime
import io
import json
import os
import pathlib
import subprocess
import sys
from dataclasses import replace
from typing import NamedTuple

import pytest

import safedocker
from safedocker import cli
from safedocker.backup import restores
from safedocker.backup.inventory import Inventory
from safedocker.backup.manifest import (
    Backup,
    Consistency,
    CrossCheck,
    Origin,
    Part,
    StoppedContainer,
    Stored,
    Use,
)
from safedocker.backup.refill import Step
from safedocker.backup.restores import Restore
from safedocker.backup.store import Claim, FolderStore
from safedocker.backup.undo import Restored, RestoredPart
from safedocker.cli.undo import meant
from safedocker.command.parse import parse
from safedocker.edge import wording_backup
from safedocker.loss.plan import Kind
from tests.explained import checked

ROOT = pathlib.Path(__file__).resolve().parents[2]
DIGEST = "3f2a9c81b4de70715ac1b0d2e94f8a6630c2d1e5f7a8b9c0d1e2f3a4b5c6d7e8"
INVENTORY = Inventory(9, 5, 3, 1, 0, 1_240_000_000, 1_240_000_005, "ab" * 32, 70, 70, 0o700)


def part(name="shop_pgdata", kind=Kind.NAMED_VOLUME, **more):
    return Part(
        **{
            "kind": kind,
            "name": name,
            "driver": "local",
            "options": {},
            "labels": {"com.docker.compose.project": "shop"},
            "used_by": (Use("shop-db-1", "postgres:15", "/var/lib/postgresql/data", True),),
            "content": "PostgreSQL 15",
            "way": "archive",
            "file": Stored("volume-1.tar.zst", 3, "00" * 32),
            "inventory": INVENTORY,
            "consistency": Consistency.COLD_CLEAN,
            "reached": "stopped first: shop-db-1 (exit code 0)",
            "cross_check": CrossCheck.EQUAL,
            "not_kept": ("sockets",),
        }
        | more
    )


def backup(id_="", **more):
    at = datetime.datetime(2026, 11, 23, 2, 4, tzinfo=datetime.UTC)
    return Backup(
        **{
            "id": id_,
            "taken_at": at,
            "verified_at": at,
            "safedocker": "0.1.0",
            "argv": ("docker", "compose", "-f", "prod file.yml", "down", "-v"),
            "cwd": "/srv/shop",
            "caller": "person (a terminal)",
            "engine": Origin("laptop", "ENGINE", "unix:///nonexistent/docker.sock", "26.1.5"),
            "form": "compose-down-volumes",
            "project": "shop",
            "stopped": (StoppedContainer("c1", "shop-db-1"),),
            "parts": (part(),),
        }
        | more
    )


class Place:
    """A home with a store, and safedocker called in it."""

    def __init__(self, home):
        self.home = home
        self.store = FolderStore(home / ".local/share/safedocker/backups")

    def keep(self, made, hours=0):
        at = made.taken_at + datetime.timedelta(hours=hours)
        draft = self.store.begin(Claim(at, made.argv, made.caller))
        for one in made.parts:
            if one.file is not None:
                draft.put(one.file.name, [b"abc"])
        kept = replace(made, id=draft.id, taken_at=at)
        draft.commit(kept)
        return kept

    def call(self, *words, **environ):
        """Run safedocker in this process, which is quicker, as its entry point does."""
        out, err = io.StringIO(), io.StringIO()
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            patch.setenv("HOME", str(self.home))
            patch.setenv("PATH", "/usr/bin:/bin")
            for name, value in environ.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["safedocker", *words])
            patch.chdir(self.home)
            with pytest.raises(SystemExit) as ended:
                cli.main()
        return Done(ended.value.code, out.getvalue(), err.getvalue())

    def run(self, *words, path="/usr/bin:/bin"):
        """The same in a process of its own: the SDK forgets to close a socket that is refused."""
        environ = {"HOME": str(self.home), "PATH": path, "PYTHONPATH": str(ROOT)}
        environ["DOCKER_HOST"] = "unix:///nonexistent/docker.sock"
        return subprocess.run(
            [sys.executable, "-m", "safedocker", *words],
            env=environ,
            capture_output=True,
            text=True,
            check=False,
            cwd=self.home,
        )


class Done(NamedTuple):
    """How a call ended: what subprocess.run gives, too."""

    returncode: object
    stdout: str
    stderr: str


@pytest.fixture
def place(home):
    return Place(home)


# backups, show


def test_an_empty_store_says_so(place):
    done = place.call("backups")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"no backups in {place.store.where}\n"
    assert json.loads(place.call("backups", "--json").stdout) == []


def test_backups_are_listed_newest_first_and_a_damaged_one_hides_none(place):
    old, broken, new = (place.keep(backup(), hours) for hours in (0, 1, 2))
    pathlib.Path(place.store.where, broken.id, "manifest.json").write_text('{"manifest": 1')
    done = place.call("backups")
    assert done.returncode == 0
    found = [line.split()[0] for line in done.stdout.splitlines()[2:]]
    assert found == [new.id, broken.id, old.id]
    assert "shop_pgdata (PostgreSQL 15)" in done.stdout
    assert "1.2 GB" in done.stdout
    assert "damaged: " in done.stdout
    told = json.loads(place.call("backups", "--json").stdout)
    assert [one["id"] for one in told] == found
    assert [one["state"] for one in told] == ["ready", "damaged", "ready"]


def test_the_state_tells_of_an_undo(place):
    made = place.keep(backup())
    restores.write(place.store, made.id, [Restore("ENGINE", "shop_pgdata", done=True)])
    assert place.call("backups").stdout.rstrip().endswith("undone")
    restores.write(place.store, made.id, [Restore("ENGINE", "shop_pgdata", done=False)])
    assert (
        place.call("backups").stdout.rstrip().endswith("undo was interrupted: shop_pgdata is left")
    )


def test_an_undo_that_was_broken_off_is_meant_and_not_what_it_replaced(place):
    made = place.keep(backup())
    replaced = place.keep(backup(form="undo"), 1)
    assert meant(place.store, None) == replaced
    restores.write(place.store, made.id, [Restore("ENGINE", "shop_pgdata", done=False)])
    assert meant(place.store, None) == made
    assert meant(place.store, replaced.id) == replaced
    later = place.keep(backup(), 2)
    assert meant(place.store, None) == later


def test_show_tells_everything_the_manifest_knows(place):
    made = place.keep(backup())
    told = place.call("show", made.id).stdout
    for what in (
        made.id,
        "docker compose -f 'prod file.yml' down -v",
        "/srv/shop",
        "person (a terminal)",
        "laptop at unix:///nonexistent/docker.sock, 26.1.5, id ENGINE",
        "shop-db-1 (postgres:15) at /var/lib/postgresql/data, was running",
        "com.docker.compose.project=shop",
        "owner 70:70, mode 0700",
        "exit code 0",
        "the engine counts the same bytes",
        "sockets",
        f"undo {made.id}",
    ):
        assert what in " ".join(told.split())


def test_show_json_is_the_manifest(place):
    made = place.keep(backup())
    manifest = pathlib.Path(place.store.where, made.id, "manifest.json")
    told = place.call("show", made.id, "--json")
    assert json.loads(told.stdout) == json.loads(manifest.read_text())


def test_any_beginning_of_an_id_that_is_no_others_will_do(place):
    first, second = place.keep(backup()), place.keep(backup(), 1)
    assert first.id in place.call("show", first.id[:13]).stdout
    done = place.call("show", "20261123")
    assert done.returncode == 1
    assert "the beginning of several backups" in done.stderr
    assert first.id in done.stderr
    assert second.id in done.stderr


BAD = {
    "unknown": (["show", "20200101-000000-aaaa"], 1, "there is no backup '20200101-000000-aaaa'"),
    "no-id-at-all": (["show", "nonsense"], 1, "there is no backup 'nonsense'"),
    "a-path": (["show", "../../etc"], 1, "there is no backup '../../etc'"),
    "empty": (["undo", ""], 1, "there is no backup ''"),
    "nothing-to-undo": (["undo"], 1, "there is no backup in "),
    "no-id": (["show"], 2, "Missing argument 'ID'"),
    "no-such-option": (["undo", "--foo"], 2, "No such option '--foo'"),
    "no-such-command": (["foo"], 2, "No such command 'foo'"),
    "not-docker": (["explain", "--", "podman", "ps"], 2, "podman is neither docker nor"),
    "two-ways": (["install", "--shims", ".", "--system"], 2, "--shims and --system exclude"),
    "bin-alone": (["install", "--bin", "."], 2, "--bin goes with --system"),
    "never-installed": (["uninstall", "--yes"], 1, "nothing is installed for you"),
    "no-shims-there": (["uninstall", "--shims", "."], 1, "no safedocker shim in "),
}


@pytest.mark.parametrize(("words", "code", "sentence"), BAD.values(), ids=BAD)
def test_bad_input_gets_a_sentence_and_its_exit_code(place, words, code, sentence):
    done = place.call(*words)
    assert done.returncode == code
    assert done.stdout == ""
    assert done.stderr.startswith("safedocker: ")
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


MANIFESTS = {
    "truncated": lambda text: text[: len(text) // 2],
    "empty": lambda _text: "",
    "newer": lambda text: text.replace('"manifest": 1', '"manifest": 99'),
    "another-id": lambda text: text.replace('"id": "2026', '"id": "2025'),
}


@pytest.mark.parametrize("spoil", MANIFESTS.values(), ids=MANIFESTS)
def test_a_damaged_manifest_is_told_and_never_passed_over(place, spoil):
    place.keep(backup())
    made = place.keep(backup(), 1)
    manifest = pathlib.Path(place.store.where, made.id, "manifest.json")
    manifest.write_text(spoil(manifest.read_text()))
    for words in (["show", made.id], ["undo", made.id[:13]], ["undo"]):
        done = place.call(*words)
        assert done.returncode == 1
        assert made.id in done.stderr
        assert "Traceback" not in done.stderr


def test_a_reader_that_goes_away_is_no_bug(place):
    for hours in range(3):
        place.keep(backup(), hours)
    done = subprocess.run(
        ["/bin/sh", "-c", f"{sys.executable} -m safedocker show 20261123-02 --json | true"],
        env={"PATH": "/usr/bin:/bin", "HOME": str(place.home), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""


# undo


def test_undo_without_its_engine_says_where_it_looked(place):
    made = place.keep(backup())
    done = place.run("undo", made.id)
    assert done.returncode == 69
    assert "unix:///nonexistent/docker.sock" in done.stderr


def test_as_wants_one_volume_or_a_pair(place):
    made = place.keep(backup(parts=(part("a"), part("b"))))
    done = place.call("undo", made.id, "--as", "c")
    assert done.returncode == 2
    assert "--as a=c" in done.stderr


def test_undo_tells_of_a_backup_that_was_killed(place):
    made = place.keep(backup())
    killed = subprocess.run(
        [
            sys.executable,
            "-c",
            "import datetime, os, sys, pathlib\n"
            "from safedocker.backup.manifest import StoppedContainer\n"
            "from safedocker.backup.store import Claim, FolderStore\n"
            "now = datetime.datetime.now(datetime.UTC)\n"
            "draft = FolderStore(pathlib.Path(sys.argv[1])).begin(Claim(now, ('docker',), 'me'))\n"
            "draft.note_stopping('laptop', [StoppedContainer('c1', 'shop-db-1')])\n"
            "os.kill(os.getpid(), 9)\n",
            place.store.where,
        ],
        env={"PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert killed.returncode == -9
    done = place.run("undo", made.id)
    assert "to start them: docker start shop-db-1" in done.stderr
    assert "docker start" not in place.run("undo", made.id).stderr


# Mirrors tests/engine, where undo itself runs: here only what is told afterwards.


def told(made, *volumes, here=False):
    restored = Restored(tuple(volumes), None, (), ())
    program, *words = made.argv
    command = parse(program, words)[0] if program in {"docker", "docker-compose"} else None
    return list(wording_backup.start_again(made, restored, command, here=here))


def test_a_project_is_started_with_the_files_it_was_taken_down_with():
    made = backup()
    one = RestoredPart(made.parts[0], "shop_pgdata", Step.CREATE)
    (line,) = told(made, one)
    assert line == (
        "to start the project again: cd /srv/shop && docker compose -f 'prod file.yml' up -d"
    )
    assert "cd " not in told(made, one, here=True)[0]


def test_a_project_file_from_stdin_is_asked_for_again():
    made = backup(argv=("docker-compose", "-f", "-", "down", "-v"))
    lines = told(made, RestoredPart(made.parts[0], "shop_pgdata", Step.CREATE))
    assert lines[0].endswith("docker-compose -f - up -d")
    assert "standard input" in lines[1]


def test_under_another_name_the_project_would_not_find_it():
    made = backup()
    (line,) = told(made, RestoredPart(made.parts[0], "copy", Step.CREATE))
    assert line.endswith("docker run -v copy:/var/lib/postgresql/data postgres:15")


def test_what_no_project_finds_is_mounted_by_hand():
    lone = part(DIGEST, Kind.ANONYMOUS_VOLUME, used_by=(Use("web", "nginx", "/data", True),))
    made = backup("20261123-020400-abcd", argv=("docker", "rm", "-fv", "web"), parts=(lone,))
    mount, name = told(made, RestoredPart(lone, DIGEST, Step.CREATE))
    assert mount == (f"to mount 3f2a9c81b4de… as web had it: docker run -v {DIGEST}:/data nginx")
    assert name.endswith("undo 20261123-020400-abcd --volume 3f2a9c81b4de --as NAME")


# explain


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["docker", "ps"], "no row: `container ls` loses nothing"),
        (["docker", "compose", "logs", "-f"], "no row: `compose logs` loses nothing"),
        (["docker", "compose", "down", "--dry-run"], "no row: `compose down` loses nothing with"),
        (["docker", "volume", "rm", "--help"], "it shows help or a version"),
        (["docker", "volume", "rm"], "its client would refuse it"),
        (["docker", "run", "img", "sh", "-c", "docker volume rm x"], "no row: `container run`"),
        (["docker", "frobnicate"], "no row: it is no command that could lose anything"),
    ],
)
def test_a_harmless_command_is_explained(place, words, why):
    done = place.call("explain", "--json", "--", *words)
    assert (done.returncode, done.stderr) == (0, "")
    found = checked(done.stdout)
    assert found["runs_at_once"].startswith(why)
    assert found["form"] is None
    assert {one["action"] for one in found["decisions"].values()} == {"pass"}
    text = place.call("explain", "--", *words)
    assert why in text.stdout
    assert ": it would run at once" in text.stdout
    assert "nothing was run" in text.stdout


def fake_docker(place):
    """A program that is no shim and says a version, so that there is a real docker to find."""
    file = place.home / "bin/docker"
    file.parent.mkdir()
    file.write_text("#!/bin/sh\necho Docker version 26.1.5\n")
    file.chmod(0o755)
    return f"{file.parent}:/usr/bin:/bin"


def test_without_an_engine_explain_says_so_and_ends_well(place):
    path = fake_docker(place)
    words = ("docker", "-H", "unix:///nonexistent/x.sock", "volume", "rm", "db")
    done = place.run("explain", "--", *words, path=path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "removes the volumes named, whatever they hold" in done.stdout
    assert "unix:///nonexistent/x.sock" in done.stdout
    assert "exit code 69" in done.stdout
    found = checked(place.run("explain", "--json", "--", *words, path=path).stdout)
    assert found["form"]["name"] == "volume-rm"
    assert found["error"]["exit_code"] == 69
    assert {one["rule"] for one in found["decisions"].values()} == {"no-engine"}
    assert found["decision"]["action"] == "refuse"


def test_without_an_engine_explain_tells_what_would_pass_all_the_same(place):
    path = fake_docker(place)
    words = ("docker", "-H", "unix:///nonexistent/x.sock", "rm", "db")
    found = checked(place.run("explain", "--json", "--", *words, path=path).stdout)
    assert {who: one["action"] for who, one in found["decisions"].items()} == {
        "person": "refuse",
        "nobody": "pass",
        "backup": "refuse",
    }
    assert "decision: pass" in place.run("explain", "--", *words, path=path).stdout


def test_without_a_real_docker_explain_says_so(place):
    done = place.call("explain", "--", "docker", "volume", "rm", "db", PATH="/nonexistent")
    assert done.returncode == 0
    assert "exit code 127" in done.stdout


def test_our_own_options_are_not_taken_from_the_command(place):
    done = place.call("explain", "docker", "volume", "prune", "--json", "--help")
    assert done.returncode == 0
    assert "it would run at once" in done.stdout


# install


def test_install_and_uninstall(place):
    path = fake_docker(place)
    shims = place.home / "shims"
    done = place.call("install", "--shims", str(shims), PATH=path)
    assert done.returncode == 0
    assert f"{shims}/docker stands before {place.home}/bin/docker" in done.stdout
    assert os.access(shims / "docker-compose", os.X_OK)
    done = place.call("uninstall", "--shims", str(shims))
    assert done.returncode == 0
    assert not shims.exists()


def test_it_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "safedocker", "show", "nonsense"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("safedocker: there is no backup 'nonsense'")


def test_version_and_help(place):
    assert safedocker.__version__ in place.call("--version").stdout
    done = place.call()
    assert done.returncode == 0
    for name in ("undo", "backups", "show", "explain", "install", "uninstall"):
        assert name in done.stdout
        assert place.call(name, "--help").returncode == 0


# with an engine


def test_undo_finds_the_engine_that_the_backup_comes_from(engine26, home):
    engine = engine26
    python = (sys.executable, "-m", "safedocker")
    ours = {"PYTHONPATH": str(ROOT)}
    nowhere = {**ours, "DOCKER_HOST": "unix:///nonexistent/docker.sock"}
    with engine.swept():
        engine.run("docker", "volume", "create", "--label", "a=b", "data", home=home)
        engine.run(
            *("docker", "run", "--rm", "-v", "data:/d", "busybox", "sh", "-c", "echo 1 >/d/file"),
            home=home,
        )
        engine.run(*python, "install", "--shims", home / "shims", home=home, environ=ours)
        told = engine.run(*python, "explain", "--", *RM, home=home, environ=ours).stdout
        assert "nobody can be asked" in told
        assert "nothing was run" in told
        engine.run(home / "shims/docker", *RM[1:], home=home, environ={"SAFEDOCKER_MODE": "backup"})
        assert not engine.run("docker", "volume", "ls", "-q", home=home).stdout
        engine.run(*python, "undo", home=home, environ=nowhere)
        engine.run(*python, "undo", "--as", "copy", home=home, environ=nowhere)
        again = engine.run(*python, "undo", home=home, environ=nowhere).stdout
        assert "data: already there" in again
        assert engine.run("docker", "volume", "ls", "-q", home=home).stdout.split() == [
            "copy",
            "data",
        ]
        listed = engine.run(*python, "backups", "--json", home=home, environ=nowhere).stdout
        (one,) = json.loads(listed)
        assert one["state"] == "undone"
        assert one["parts"][0]["labels"] == {"a": "b"}


RM = ("docker", "volume", "rm", "data")
