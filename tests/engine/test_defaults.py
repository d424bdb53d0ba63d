"""What is done by default about each kind of loss, at a real terminal and without one: who is
asked, who only gets a line, who notices nothing at all."""

from __future__ import annotations

import json
import re

import pytest

from tests.engine.conftest import Shell

HEAVY = "head -c 60000000 /dev/urandom"
LIGHT = "head -c 1000 /dev/urandom"


def box(shell: Shell, script: str, *options: str) -> None:
    """A container that ran a script and ended."""
    words = " ".join(options)
    shell.out(f"docker run --name box {words} busybox sh -c '{script}'")


def asked(shell: Shell, line: str) -> str:
    """Run a line at a terminal that must ask, and cancel; return what stood there."""
    screen = shell.terminal(line).asked()
    screen.type("\x04")
    assert screen.ended() == 77
    return screen.text


def passes(shell: Shell, line: str) -> str:
    """Run a line at a terminal that asks nothing; return what stood there."""
    screen = shell.terminal(line)
    assert screen.ended() == 0, screen.text
    return screen.text


# What a container wrote outside its mounts


WEIGHTY = {
    "big": f"{HEAVY} >/big",
    "big-in-an-application-folder": f"mkdir -p /srv/app && {HEAVY} >/srv/app/upload.bin",
    "sqlite": 'mkdir /app && printf "SQLite format 3\\0" >/app/db.sqlite3',
    "postgres": "mkdir -p /pg/global && echo 15 >/pg/PG_VERSION && echo x >/pg/global/pg_control",
}
OF_NO_WEIGHT = {
    "nothing": "true",
    "light": f"{LIGHT} >/small",
    "log": f"mkdir -p /var/log && {HEAVY} >/var/log/app.log",
    "tmp": f"mkdir -p /tmp && {HEAVY} >/tmp/scratch",
    "cache": f"mkdir -p /root/.cache && {HEAVY} >/root/.cache/blob",
}


@pytest.mark.parametrize("script", WEIGHTY.values(), ids=WEIGHTY)
def test_v2_a_layer_of_weight_is_asked_about_and_a_script_passes(shell, script):
    box(shell, script)
    before = shell.state()
    told = asked(shell, "docker rm box")
    assert "container layer" in told
    assert shell.state() == before
    done = shell.run("docker rm box", check=True)
    assert (done.stdout, done.stderr) == ("box\n", "")
    line = shell.audit()[-1]
    assert (line["action"], line["outcome"]) == ("pass", "pass")
    assert [loss["kind"] for loss in line["losses"]] == ["container layer"]


@pytest.mark.parametrize("script", OF_NO_WEIGHT.values(), ids=OF_NO_WEIGHT)
def test_a_layer_of_no_weight_passes_at_a_terminal_without_a_word(shell, script):
    box(shell, script)
    assert passes(shell, "docker rm box") == "box\r\n"
    assert shell.ask("/containers/json") == []


def test_v2_mode_backup_keeps_a_layer_of_weight_and_undo_brings_it_back(shell):
    box(shell, f"{HEAVY} >/big; sha256sum </big >/sum")
    shell.run("docker rm box", check=True, SAFEDOCKER_MODE="backup")
    assert shell.ask("/containers/json") == []
    shell.run("safedocker undo", check=True)
    held = shell.out("docker export box | tar -xO big | sha256sum")
    assert held == shell.out("docker export box | tar -xO sum")


def test_a_layer_goes_without_a_backup_once_its_name_is_typed(shell):
    box(shell, WEIGHTY["big"])
    screen = shell.terminal("docker container prune -f").asked().type("2\r")
    screen.wait("type box").type("box\r")
    assert screen.ended() == 0
    assert shell.ask("/containers/json") == []


# Volumes of containers that were started with --rm


def ends(shell: Shell, script: str) -> str:
    """A running container, started with --rm, whose anonymous volume a script filled."""
    shell.out(
        "docker run -d --init --rm --name ends -v /data busybox "
        f"sh -c '{script}; touch /data/ready; sleep 1000'"
    )
    (name,) = shell.volumes()
    shell.out(f"while ! test -e {shell.place(name)}/ready; do sleep 0.1; done")
    return name


@pytest.mark.parametrize("verb", ["stop -t 0", "kill"])
def test_a_disposable_volume_of_weight_is_asked_about_and_a_script_passes(shell, verb):
    ends(shell, f"{HEAVY} >/data/big")
    told = asked(shell, f"docker {verb} ends")
    assert "anonymous volume of ends" in told
    assert shell.running() == {"ends"}
    done = shell.run(f"docker {verb} ends", check=True)
    assert (done.stdout, done.stderr) == ("ends\n", "")
    shell.out("while docker inspect ends >/dev/null 2>&1; do sleep 0.1; done")
    assert shell.volumes() == set()


def test_a_light_disposable_volume_passes_and_mode_backup_keeps_it(shell):
    name = ends(shell, f"{LIGHT} >/data/small")
    assert passes(shell, "docker stop -t 0 ends") == "ends\r\n"
    shell.out("while docker inspect ends >/dev/null 2>&1; do sleep 0.1; done")
    name = ends(shell, f"{LIGHT} >/data/small")
    held = (shell.place(name) / "small").read_bytes()
    shell.run("docker stop -t 0 ends", check=True, SAFEDOCKER_MODE="backup")
    shell.out("while docker inspect ends >/dev/null 2>&1; do sleep 0.1; done")
    assert shell.volumes() == set()
    shell.run("safedocker undo", check=True)
    assert (shell.place(name) / "small").read_bytes() == held


# What stays behind


def test_a_detached_volume_with_data_gets_one_line_at_a_terminal_alone(shell):
    box(shell, "echo x >/data/f", "-v", "/data")
    shell.out("docker run --name other -v /data busybox touch /data/f")
    told = passes(shell, "docker rm box")
    (hint, name) = told.splitlines()
    assert name == "box"
    assert "left without a container" in hint
    done = shell.run("docker rm other", check=True)
    assert (done.stdout, done.stderr) == ("other\n", "")
    assert len(shell.volumes()) == 2


def test_an_empty_detached_volume_is_not_worth_a_line(shell):
    box(shell, "true", "-v", "/data")
    assert passes(shell, "docker rm box") == "box\r\n"


# What is empty


COMPOSE = """
services:
  web:
    image: busybox
    init: true
    command: sleep 1000
    volumes: [data:/data, /scratch]
  other:
    image: busybox
    init: true
    command: sleep 1000
    volumes: [data:/data]
volumes: {data: {labels: {a: b}}}
"""


def settled(text: str) -> list[str]:
    """The lines without times and colours, in an order: Compose's own differs from run to run."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    return sorted(re.sub(r"[\d.]+s\b", "", line).strip() for line in text.splitlines())


def test_empty_volumes_of_a_running_project_go_as_the_real_compose_says(shell):
    header = 'version: "2.4"\n' if shell.engine.version == "20" else ""
    (shell.home / "docker-compose.yml").write_text(header + COMPOSE)
    said = []
    for real in (True, False):
        shell.out(f"{shell.compose} -p shop up -d")
        done = shell.run(f"{shell.compose} -p shop down -v", real=real, check=True)
        said.append((settled(done.stdout), settled(done.stderr)))
        assert shell.volumes() == set()
    assert said[0] == said[1]
    line = shell.audit()[-1]
    assert (line["action"], line["outcome"]) == ("record", "backed up")
    manifest = json.loads((shell.store / str(line["backup"]) / "manifest.json").read_text())
    assert {part["labels"].get("a") for part in manifest["parts"]} == {"b", None}
    shell.run("safedocker undo", check=True)
    assert "shop_data" in shell.volumes()


def test_an_empty_volume_goes_without_a_word_at_a_terminal_and_its_definition_is_kept(shell):
    shell.out("docker volume create --label a=b void")
    before = shell.definition("void")
    assert passes(shell, "docker volume rm void") == "void\r\n"
    shell.run("safedocker undo", check=True)
    assert shell.definition("void") == before


# Docker's own question


def test_a_no_that_is_piped_to_docker_is_heard_by_docker(shell):
    shell.out(
        "docker volume create left; docker volume create --label com.docker.volume.anonymous= any"
    )
    for name in ("left", "any"):
        (shell.place(name) / "file").write_text("x")
    before = shell.state()
    for line in ("echo n |", "echo yes |", "echo |", "printf '' |", "(sleep 0.05; echo no) |"):
        script = f"{line} docker volume prune"
        ours, theirs = shell.run(script), shell.run(script, real=True)
        assert ours.returncode == theirs.returncode == 0
        assert (ours.stdout, ours.stderr) == (theirs.stdout, theirs.stderr)
    (shell.home / "no").write_text("n\n")
    ours, theirs = (shell.run("docker volume prune <no", real=real) for real in (False, True))
    assert (ours.returncode, ours.stdout) == (theirs.returncode, theirs.stdout)
    assert shell.state() == before
    for line in ("yes |", "echo y |", "echo ' Y' |", "printf y |", "(sleep 6; echo n) |"):
        assert shell.run(f"{line} docker volume prune").returncode == 77, line
    assert shell.state() == before


def test_a_no_that_is_piped_to_compose_is_heard_by_compose(shell):
    header = 'version: "2.4"\n' if shell.engine.version == "20" else ""
    (shell.home / "docker-compose.yml").write_text(header + COMPOSE)
    shell.out(f"{shell.compose} -p shop up -d; {shell.compose} -p shop stop -t 0")
    anonymous = next(name for name in shell.volumes() if re.fullmatch("[0-9a-f]{64}", name))
    (shell.place(anonymous) / "file").write_text("x")
    before = shell.state()
    words = ["n", "N", "no", ""]
    words += ["true", "1"] if shell.engine.version == "20" else ["yes"]
    for word in words:
        script = f"echo '{word}' | {shell.compose} -p shop rm -v"
        ours, theirs = shell.run(script), shell.run(script, real=True)
        assert ours.returncode == theirs.returncode == 0
        assert settled(ours.stdout) == settled(theirs.stdout)
        assert settled(ours.stderr) == settled(theirs.stderr)
        assert shell.state() == before
    for word in ["y", "Y"] + (["yes"] if shell.engine.version == "20" else ["true", "1", "t"]):
        assert shell.run(f"echo '{word}' | {shell.compose} -p shop rm -v").returncode == 77
    assert shell.state() == before
