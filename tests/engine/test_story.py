"""The 2 AM story and its neighbours, through the real shims: who is asked, who is refused, what a
backup brings back. Scenario ids are those of what really happened to people."""

from __future__ import annotations

import os
import re
import shlex
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.engine.conftest import Shell
from tests.engine.test_round_trip import Seen, fill, see
from tests.engines import PrivateEngine

COMPOSE = """
services:
  web:
    image: busybox
    init: true
    command: sleep 1000
    volumes: [data:/data, kept:/kept, /scratch]
volumes:
  data: {labels: {com.example.note: "ü b=c", empty: ""}}
  kept: {external: true}
"""
POSTGRES = """
services:
  db:
    image: postgres:15
    environment: {TZ: UTC}
    volumes: [pgdata:/var/lib/postgresql/data]
volumes: {pgdata: }
"""
ROWS = "select count(*), md5(string_agg(id || note, ',' order by id)) from orders"


class Shop:
    """A project that is up: a named volume, an anonymous and an external one, nasty contents."""

    def __init__(self, shell: Shell, compose: str = COMPOSE) -> None:
        self.shell = shell
        self.folder = shell.home / "shop"
        self.folder.mkdir()
        header = 'version: "2.4"\n' if shell.engine.version == "20" else ""
        (self.folder / "docker-compose.yml").write_text(header + compose)
        shell.out("docker volume create kept")
        self.up()
        anonymous = "docker volume ls -q | grep -xE '[0-9a-f]{64}'" if "/scratch" in compose else ""
        self.scratch = shell.out(anonymous)
        self.goes = {"shop_data", self.scratch} if self.scratch else {"shop_pgdata"}

    @property
    def down(self) -> str:
        return f"{self.shell.compose} down -v"

    def up(self) -> str:
        """Start it; return what stood on stderr."""
        up = f"{self.shell.compose} up -d"
        return self.shell.run(up, real=True, check=True, cwd=self.folder, timeout=180).stderr

    def run(self, script: str, *, check: bool = False, **environ: Any):
        return self.shell.run(script, check=check, cwd=self.folder, **environ)

    def terminal(self, script: str, **environ: Any):
        return self.shell.terminal(script, cwd=self.folder, **environ)

    def seen(self) -> dict[str, tuple[dict[str, object], dict[bytes, Seen]]]:
        """The volumes that would go: how each is defined, and all that is in it."""
        shell = self.shell
        return {name: (shell.definition(name), see(shell.place(name))) for name in self.goes}


def fill_all(shell: Shell, *volumes: str) -> None:
    for name in volumes:
        place = shell.place(name)
        fill(place)
        (place / "sparse").unlink()  # big, and holes are not kept


@pytest.fixture(scope="class")
def open_shop(
    engine: PrivateEngine, open_shell: Callable[[PrivateEngine], Shell]
) -> Iterator[Shop]:
    """A shop that tests share: it must stay as it is."""
    with engine.swept():
        shop = Shop(open_shell(engine))
        fill_all(shop.shell, *shop.goes)
        yield shop


@pytest.fixture
def shop(shell: Shell) -> Shop:
    """A shop of the test's own."""
    own = Shop(shell)
    fill_all(shell, *own.goes)
    return own


def assert_refused(shop: Shop, before: dict[str, object], outcome: str = "refused") -> None:
    """Nothing in the engine is other than it was, nothing of ours is in it; the audit tells."""
    assert shop.shell.state() == before
    assert shop.shell.helpers() == []
    assert shop.shell.backups() == shop.shell.partial() == []
    assert shop.shell.audit()[-1]["outcome"] == outcome


# Nothing changes


SPELLINGS = (
    "{compose} -f docker-compose.yml down --volumes",
    "{compose} -f ./docker-compose.yml --project-name=shop down --remove-orphans -v",
)
LEAVING = {
    "cancel": ("3\r", 77, "cancelled"),
    "ctrl-c": ("\x03", 130, None),
    "ctrl-d": ("\x04", 77, "cancelled"),
    "ctrl-c-while-typing-the-name": ("2\rsho\x03", 130, None),
}


class TestWhereNobodyGoesOn:
    """One shop for all of them: each leaves it as it was."""

    def test_v1_s1_s7_down_with_volumes_without_a_terminal_is_refused_and_changes_nothing(
        self, open_shop
    ):
        shop, before = open_shop, open_shop.shell.state()
        done = shop.run(shop.down)
        assert (done.returncode, done.stdout) == (77, "")
        assert_refused(shop, before)
        for volume in ("shop_data", f"{shop.scratch[:12]}…"):
            (line,) = [line for line in done.stderr.splitlines() if line.split()[:1] == [volume]]
            assert re.search(r" [\d.]+ [kMG]?B +files +", line), "size and content"
        assert re.search(r"used by shop.web.1", done.stderr)
        assert "kept (external" in done.stderr
        assert "not for verbose" in " ".join(done.stderr.split())
        for way_on in ("to keep the volumes:", "to back up first and go on:", "to be asked:"):
            assert way_on in done.stderr
        line = shop.shell.audit()[-1]
        assert line["argv"] == shlex.split(shop.down)
        assert (line["form"], line["project"]) == ("compose-down-volumes", "shop")
        volumes = {loss["name"] for loss in line["losses"] if loss["kind"].endswith("volume")}
        assert volumes == shop.goes
        assert (line["caller"], line["action"], line["backup"]) == ("script", "refuse", None)

    @pytest.mark.parametrize("spelling", SPELLINGS)
    def test_s12_a_global_option_in_front_does_not_walk_past(self, open_shop, spelling):
        shop, before = open_shop, open_shop.shell.state()
        done = shop.run(spelling.format(compose=shop.shell.compose))
        assert done.returncode == 77
        assert "shop_data" in done.stderr
        assert_refused(shop, before)

    def test_s12_an_engine_named_on_the_command_line_is_the_one_that_is_asked(self, open_shop):
        """DOCKER_HOST leads nowhere; -H is what the command will hit."""
        shop, before = open_shop, open_shop.shell.state()
        host = f"unix://{shop.shell.engine.socket}"
        done = shop.run(
            f"docker -H {host} rm -fv $(docker -H {host} ps -lq)",
            DOCKER_HOST="unix:///nonexistent/s",
        )
        assert done.returncode == 77
        assert shop.scratch[:12] in done.stderr
        assert_refused(shop, before)

    @pytest.mark.parametrize("mark", ["CI=true", "CLAUDECODE=1"])
    def test_s1_ci_and_agents_are_refused_at_a_terminal_too(self, open_shop, mark):
        shop, before = open_shop, open_shop.shell.state()
        screen = shop.terminal(f"{mark} {shop.down}")
        assert screen.ended() == 77
        assert "What now" not in screen.text
        assert mark.split("=")[0] in screen.text
        assert_refused(shop, before)
        assert shop.shell.audit()[-1]["caller"] == ("ci" if mark == "CI=true" else "agent")

    def test_mode_deny_refuses_a_person_too(self, open_shop):
        shop, before = open_shop, open_shop.shell.state()
        screen = shop.terminal(shop.down, SAFEDOCKER_MODE="deny")
        assert screen.ended() == 77
        assert "What now" not in screen.text
        assert_refused(shop, before)

    @pytest.mark.parametrize(("keys", "code", "outcome"), LEAVING.values(), ids=LEAVING)
    def test_whoever_does_not_go_on_changes_nothing(self, open_shop, keys, code, outcome):
        shop, before = open_shop, open_shop.shell.state()
        screen = shop.terminal(shop.down).asked()
        for key in re.findall(r"[^\r]*\r|.", keys):
            screen.type(key)
            if key == "2\r":
                screen.wait("type shop")
        assert screen.ended() == code
        assert "othing was removed" in screen.text
        assert shop.shell.state() == before
        assert shop.shell.helpers() == shop.shell.backups() == shop.shell.partial() == []
        if outcome:
            assert_refused(shop, before, outcome)


# A person goes on


def test_v1_enter_backs_up_and_goes_on_and_undo_brings_everything_back(shop):
    shell, before = shop.shell, shop.seen()
    screen = shop.terminal(shop.down).asked().type("\r")
    assert screen.ended() == 0
    assert "backed up 2 volumes" in screen.text
    assert shell.volumes() == {"kept"}
    assert shell.running() == set()
    (backup,) = shell.backups()
    assert shell.audit()[-1]["backup"] == backup
    assert (shell.store.parent.stat().st_mode & 0o77, shell.partial()) == (0, [])
    undone = shop.run("safedocker undo", check=True)
    assert shop.seen() == before
    assert shell.helpers() == []
    again = re.search(r"to start the project again: (.+)", undone.stdout)
    assert again, undone.stdout
    up = shop.run(again[1], check=True)
    assert "already exists" not in up.stderr
    assert shop.seen() == before


def test_without_a_backup_goes_on_once_the_project_is_typed(shop):
    screen = shop.terminal(shop.down).asked().type("2\r").wait("type shop").type("shop\r")
    assert screen.ended() == 0
    assert shop.shell.volumes() == {"kept"}
    assert shop.shell.backups() == shop.shell.partial() == []
    assert shop.shell.audit()[-1]["outcome"] == "without a backup"


def test_s22_the_ways_that_a_refusal_names_pass(shop):
    """`down` keeps the volumes; mode backup goes on, and undo makes it as it was."""
    shell, before = shop.shell, shop.seen()
    told = shop.run(shop.down).stderr
    backup_first = re.search(r"to back up first and go on: (.+)", told)
    keeping = re.search(r"to keep the volumes: (.+)", told)
    assert backup_first
    assert keeping
    shop.run(backup_first[1], check=True)
    assert shell.volumes() == {"kept"}
    shop.run("safedocker undo", check=True)
    assert shop.seen() == before
    assert "already exists" not in shop.up()
    shop.run(keeping[1], check=True)
    assert shell.running() == set()
    assert shop.seen() == before


def test_s29_xargs_has_the_question_on_the_controlling_terminal(shell):
    for name in ("one", "two"):
        shell.out(f"docker volume create {name}")
        (shell.place(name) / "file").write_text(name)
    line = "docker volume ls -q | xargs docker volume rm"
    before = shell.state()
    done = shell.terminal(line).asked().type("3\r")
    assert done.ended() == 123, "xargs says so when a command fails"
    assert shell.state() == before
    assert shell.terminal(line).asked().type("\r").ended() == 0
    assert shell.volumes() == set()
    shell.run("safedocker undo", check=True)
    assert {name: (shell.place(name) / "file").read_text() for name in shell.volumes()} == {
        "one": "one",
        "two": "two",
    }


# Pruning


def prune(shell: Shell) -> str:
    return "docker volume prune" + ("" if shell.engine.version == "20" else " -a")


def test_s30_answers_piped_to_docker_are_no_consent(shell):
    shell.out("docker volume create left")
    (shell.place("left") / "file").write_text("x")
    before = shell.state()
    done = shell.run(f"yes | {prune(shell)}")
    assert done.returncode == 77
    assert "left" in done.stderr
    assert shell.state() == before
    done = shell.run(f"{prune(shell)} --force")
    assert done.returncode == 77
    assert shell.state() == before


def test_prune_whose_question_nobody_can_answer_is_left_to_docker(shell):
    shell.out("docker volume create left")
    (shell.place("left") / "file").write_text("x")
    before = shell.state()
    ours, theirs = shell.run(prune(shell)), shell.run(prune(shell), real=True)
    assert (ours.returncode, ours.stdout, ours.stderr) == (
        theirs.returncode,
        theirs.stdout,
        theirs.stderr,
    )
    assert shell.state() == before


# Other forms


STATE = """
docker volume create --label a=b --label com.docker.compose.project=shop named
docker create --name box -v /anon busybox
"""
FORMS = {
    "volume-rm": ("docker volume rm -f named", {"named"}),
    "volume-prune": ("docker rm box; {prune} -f", {"named", "anonymous"}),
    "system-prune-volumes": ("docker system prune -f --volumes", {"anonymous"}),
    "rm-v": ("docker rm -v box", {"anonymous"}),
}


@pytest.mark.parametrize(("script", "goes"), FORMS.values(), ids=FORMS)
def test_s3_v10_v11_each_form_in_mode_backup_can_be_undone(shell, script, goes):
    shell.out(STATE)
    (anonymous,) = shell.volumes() - {"named"}
    names = {anonymous if name == "anonymous" else name for name in goes}
    if script.startswith("docker system") and shell.engine.version == "20":
        names.add("named")  # before API 1.42 named ones count too
    fill_all(shell, "named", anonymous)
    before = {name: (shell.definition(name), see(shell.place(name))) for name in names}
    shell.run(script.format(prune=prune(shell)), check=True, SAFEDOCKER_MODE="backup")
    assert shell.volumes() == {"named", anonymous} - names
    shell.run("safedocker undo", check=True)
    after = {name: (shell.definition(name), see(shell.place(name))) for name in names}
    assert after == before
    assert shell.helpers() == shell.partial() == []


def test_s2_system_prune_of_an_agent_is_refused_and_names_each_project(shell):
    for project in ("theirs", "ours"):
        label = f"--label com.docker.compose.project={project}"
        shell.out(f"docker create {label} --name {project} -v /anon busybox")
        volume = shell.out(f"docker inspect -f '{{{{(index .Mounts 0).Name}}}}' {project}")
        (shell.place(volume) / "file").write_text(project)
    before = shell.state()
    done = shell.run("docker system prune -af --volumes", CLAUDECODE="1")
    assert done.returncode == 77
    for project in ("theirs", "ours"):
        assert project in done.stderr
    assert shell.state() == before


HEAVY = "head -c 60000000 /dev/urandom > /blob; echo kept > /etc/own; rm /bin/vi; echo x > /anon/f"


@pytest.mark.parametrize("line", ["docker rm -f box", "docker rm -fv box"])
def test_v2_s4_s5_a_container_comes_back_with_what_it_wrote(shell, line):
    """Its own files weigh more than the line, so mode backup keeps the container."""
    shell.out("docker run -d --init --name box -v /anon -v named:/n busybox sleep 1000")
    shell.out(f"docker exec box sh -c {shlex.quote(HEAVY)}")
    told = "docker exec box sh -c 'md5sum /blob /etc/own /anon/f; ls /bin | md5sum'"
    before = shell.out(told)
    done = shell.run(line, check=True, SAFEDOCKER_MODE="backup")
    assert done.stdout == "box\n"
    assert shell.running() == set()
    (backup,) = shell.backups()
    assert "container box" in shell.run("safedocker backups", check=True).stdout
    shell.run(f"safedocker show {backup}", check=True)
    undone = shell.run("safedocker undo", check=True)
    assert "container box" in undone.stdout
    assert shell.running() == {"box"}, "it ran before"
    assert shell.out(told) == before
    assert shell.helpers() == shell.partial() == []
    shell.out("docker stop -t 0 box")
    assert "already there" in shell.run("safedocker undo", check=True).stdout
    taken = shell.run(f"safedocker undo {backup} --volume box --as other", check=True)
    assert "container other" in taken.stdout


@pytest.mark.parametrize("verb", ["stop", "kill", "rm -fv"])
def test_what_a_container_with_rm_takes_along_is_copied_while_it_is_paused(shell, verb):
    shell.out("docker run -d --rm --init --name box -v /anon busybox sleep 1000")
    (volume,) = shell.volumes()
    fill_all(shell, volume)
    before = (shell.definition(volume), see(shell.place(volume)))
    done = shell.run(f"docker {verb} box", check=True, SAFEDOCKER_MODE="backup")
    assert done.stdout == "box\n"
    deadline = time.monotonic() + 20
    while shell.volumes() and time.monotonic() < deadline:
        time.sleep(0.05)  # the engine removes it a moment after the container has ended
    assert shell.volumes() == set()
    shell.run("safedocker undo", check=True)
    assert (shell.definition(volume), see(shell.place(volume))) == before
    assert shell.helpers() == shell.partial() == []


OPTIONS = {
    "nfs": "--opt type=nfs --opt o=addr=192.0.2.1,rw --opt device=:/exports/db",
    "bind": "--opt type=none --opt o=bind --opt device={elsewhere}",
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_v12_a_reference_goes_without_a_question_and_its_definition_comes_back(shell, options):
    elsewhere = shell.home / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").write_text("stays")
    shell.out(f"docker volume create --label a=b {options.format(elsewhere=elsewhere)} reference")
    before = shell.definition("reference")
    started = time.monotonic()
    done = shell.run("docker volume rm reference", check=True)
    assert done.stdout == "reference\n"
    assert shell.volumes() == set()
    assert (elsewhere / "file").read_text() == "stays"
    shell.run("safedocker undo", check=True)
    assert time.monotonic() - started < 20, "nobody waited for 192.0.2.1"
    assert shell.definition("reference") == before
    assert os.listdir(elsewhere) == ["file"]


def test_empty_volumes_go_without_a_question_and_come_back_as_they_were(shell):
    shell.out("docker volume create --label a=b void; docker create --name box -v /anon busybox")
    place = shell.place("void")
    os.chown(place, 999, 999)
    place.chmod(0o700)
    before = (shell.definition("void"), see(place))
    done = shell.run("docker volume rm void", check=True)
    assert done.stdout == "void\n"
    assert len(done.stderr.splitlines()) <= 1, "one line says so"
    assert shell.run("docker rm -v box", check=True).stdout == "box\n"
    assert shell.volumes() == set()
    shell.run(f"safedocker undo {shell.audit()[-2]['backup']}", check=True)
    assert (shell.definition("void"), see(shell.place("void"))) == before


def test_a_command_that_can_lose_nothing_now_runs_at_once(shell):
    """In use, or not there: the engine refuses by itself, with its own words and code."""
    shell.out("docker volume create used; docker create --name box -v used:/u busybox")
    (shell.place("used") / "file").write_text("x")
    for line in ("docker volume rm used", "docker volume rm nosuch", "docker rm -v nosuch"):
        ours, theirs = shell.run(line), shell.run(line, real=True)
        assert ours.returncode == theirs.returncode == 1
        assert (ours.stdout, ours.stderr) == (theirs.stdout, theirs.stderr)


# A database


def test_v1_every_row_of_postgres_comes_back(shell):
    shell.engine.image("postgres:15")
    shop = Shop(shell, POSTGRES)
    shell.run("docker volume rm kept", real=True)
    container = shell.out("docker ps --format '{{.Names}}'")

    def sql(statement):
        argv = ("docker", "exec", container, "psql", "-U", "postgres", "-qtAc", statement)
        return shell.out(shlex.join(argv))

    def wait():
        deadline = time.monotonic() + 60
        ready = f"docker exec {container} pg_isready -h 127.0.0.1 -q"
        while shell.run(ready, real=True).returncode:
            assert time.monotonic() < deadline, "PostgreSQL did not come up"
            time.sleep(0.1)

    wait()
    sql("create table orders (id int primary key, note text)")
    sql("insert into orders select n, 'order ' || n from generate_series(1, 20000) n")
    before = sql(ROWS)
    assert before.startswith("20000|")
    refused = shop.run(shop.down)
    assert refused.returncode == 77
    assert "PostgreSQL 15" in refused.stderr
    shop.run(shop.down, check=True, SAFEDOCKER_MODE="backup")
    assert shell.volumes() == set()
    told = shop.run("safedocker show $(ls ~/.local/share/safedocker/backups | head -1)", check=True)
    assert "cold" in told.stdout
    shop.run("safedocker undo", check=True)
    assert "already exists" not in shop.up()
    wait()
    assert sql(ROWS) == before
    log = shell.run(f"docker logs {container}", real=True)
    assert "was not properly shut down" not in log.stderr + log.stdout
