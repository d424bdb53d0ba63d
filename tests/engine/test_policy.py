"""Who calls, under which policy, and what becomes of it: README's table, cell by cell, for real.
And the policy's files, the freeze and SAFEDOCKER=off as people use them."""

from __future__ import annotations

import datetime
import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest
from jsonschema import Draft202012Validator

from tests.conftest import missing
from tests.debian import Unavailable
from tests.engine.conftest import ROOT, Screen, Shell
from tests.engines import SYSTEM_PATH
from tests.ssh import Host

pytestmark = pytest.mark.engine

ONE = pytest.mark.parametrize("engine", ["26"], indirect=True)
REFUSAL = Draft202012Validator(json.loads((ROOT / "safedocker/refusal.schema.json").read_text()))

COMPOSE = """
services: {web: {image: busybox, volumes: ["data:/data"]}}
volumes: {data: {name: data}}
"""
OF_APP = "--label com.docker.compose.project=app --label com.docker.compose.volume=data"


def filled(shell: Shell, name: str = "data", labels: str = "") -> Path:
    """A volume that holds data."""
    shell.out(f"docker volume create {labels} {name}")
    place = shell.place(name)
    (place / "rows").write_text("seven\n")
    return place


def policy(shell: Shell, text: str) -> Path:
    """The person's own file."""
    file = shell.home / ".config/safedocker/policy.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def of_account(shell: Shell, script: str, sudo: Path | None = None) -> str:
    """A script in whose system this home is the account's own, as /etc/passwd tells it; `sudo` is
    the home of the account 4242."""
    passwd = shell.home / "passwd"
    lines = [f"root:x:{os.getuid()}:0:root:{shell.home}:/bin/sh"]
    lines += [f"anna:x:4242:0:anna:{sudo}:/bin/sh"] if sudo else []
    passwd.write_text("\n".join(lines) + "\n")
    inside = f'mount --bind {passwd} /etc/passwd && exec sh -c "$1"'
    return f"unshare --mount sh -c {shlex.quote(inside)} sh {shlex.quote(script)}"


# README's table: a row a caller, a column a policy.

HEAD = "| who calls |"


def table() -> tuple[list[str], dict[str, list[str]]]:
    """The columns, and for each caller what is in them."""
    lines = (ROOT / "README.md").read_text().splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith(HEAD))
    rows = []
    for line in lines[at:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    head, _rule, *body = rows
    return head[2:], {row[0]: row[2:] for row in body}


def alone(shell: Shell, line: str, **environ: Any) -> subprocess.CompletedProcess[str] | Screen:
    return shell.run(line, **environ)


def at_a_terminal(shell: Shell, line: str, **environ: Any) -> Screen:
    return shell.terminal(line, **environ)


def xargs(shell: Shell, line: str, **environ: Any) -> Screen:
    *words, last = line.split()
    return shell.terminal(f"echo {last} | xargs {' '.join(words)}", **environ)


def make(shell: Shell, line: str, **environ: Any) -> Screen:
    (shell.home / "Makefile").write_text(f"clean:\n\t{line}\n")
    return shell.terminal("make clean", **environ)


def cron(shell: Shell, line: str, **environ: Any) -> subprocess.CompletedProcess[str]:
    """As cron starts a job: a shell of its own, hardly any environment, and no terminal."""
    kept = ("HOME", "PATH", "DOCKER_HOST")
    few = {name: shell.environ[name] for name in kept if name in shell.environ}
    around = {**few, **environ, "SHELL": "/bin/sh", "LOGNAME": "root"}
    return _unattended(["/bin/sh", "-c", line], around, shell.home)


def _unattended(
    argv: list[str], environ: dict[str, Any], cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv,
        env=environ,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        start_new_session=True,
        check=False,
        timeout=120,
    )


def _over_ssh(
    shell: Shell, line: str, environ: dict[str, Any], *, terminal: bool
) -> tuple[list[str], dict[str, str]]:
    """A host where the login finds the shims, and what is said of one command stands before it."""
    try:
        host = Host(shell.home / "host", shell.home, shell.environ)
    except Unavailable as reason:
        missing("26", reason)
    told = [f"{name}={value}" for name, value in environ.items()]
    before = ["env", *told] if told else []
    argv = host.argv(shlex.join([*before, *line.split()]), terminal=terminal)
    return argv, {"PATH": SYSTEM_PATH, "HOME": str(shell.home)}


def ssh(shell: Shell, line: str, **environ: Any) -> subprocess.CompletedProcess[str]:
    return _unattended(*_over_ssh(shell, line, environ, terminal=False))


def ssh_with_a_terminal(shell: Shell, line: str, **environ: Any) -> Screen:
    argv, around = _over_ssh(shell, line, environ, terminal=True)
    return Screen(f"exec {shlex.join(argv)}", around, shell.home)


def of_its_account(launch: Callable[..., object]) -> Callable[..., object]:
    """The same where the person's file is the account's own: another loosens nothing for it."""
    return lambda shell, line, **environ: launch(shell, of_account(shell, line), **environ)


CI: dict[str, Any] = {"CI": "true"}
AGENT: dict[str, Any] = {"CLAUDECODE": "1"}
CALLERS: dict[str, tuple[Callable[..., object], dict[str, Any]]] = {
    "a person at a terminal": (at_a_terminal, {}),
    "`xargs`, at a terminal": (xargs, {}),
    "`make`, at a terminal": (make, {}),
    "`ssh -t host docker ...`": (ssh_with_a_terminal, {}),
    "a script, cron": (cron, {}),
    "`ssh host docker ...`": (ssh, {}),
    "CI": (alone, CI),
    "CI with a terminal": (at_a_terminal, CI),
    "an agent": (of_its_account(alone), AGENT),
    "an agent with a terminal": (of_its_account(at_a_terminal), AGENT),
}
COLUMNS: dict[str, tuple[str, dict[str, Any]]] = {
    "no policy": ("", {}),
    '`mode = "backup"`': ('mode = "backup"\n', {}),
    '`mode = "deny"`': ('mode = "deny"\n', {}),
    '`mode = "allow"`': ('mode = "allow"\n', {}),
    "`SAFEDOCKER_MODE=backup`": ("", {"SAFEDOCKER_MODE": "backup"}),
    "`SAFEDOCKER=off`": ("", {"SAFEDOCKER": "off"}),
}
APP = "docker compose -p app -f compose.yml"
FORMS = {
    "volume rm": "docker volume rm data",
    "volume prune": "docker volume prune --force --all",
    "compose down": f"{APP} down -v",
}


def test_the_table_has_every_caller_and_every_policy():
    columns, rows = table()
    assert columns == list(COLUMNS)
    assert list(rows) == list(CALLERS)


def came_of_it(shell: Shell, ran: object) -> str:
    """What a command did, in the table's words."""
    if isinstance(ran, Screen):
        if ran.child.expect(["What now", pexpect.EOF]) == 0:
            ran.wait("Cancel").type("\x03").ended()
            assert "data" in shell.volumes()
            return "asked"
        told, code = f"{ran.child.before}", ran.ended()
    else:
        assert isinstance(ran, subprocess.CompletedProcess)
        told, code = ran.stderr, ran.returncode
    if "data" in shell.volumes():
        assert code in {77, 123, 2}, told  # xargs and make tell of a failure in their own way
        assert "refused (" in told
        return "refused"
    assert code == 0, told
    return "backed up" if shell.backups() else "goes"


@ONE
@pytest.mark.parametrize("caller", CALLERS)
def test_what_becomes_of_each_caller_under_each_policy(shell, caller):
    (shell.home / "compose.yml").write_text(COMPOSE)
    columns, rows = table()
    launch, marks = CALLERS[caller]
    for column, expected in zip(columns, rows[caller], strict=True):
        text, environ = COLUMNS[column]
        policy(shell, text)
        every = column == "no policy" and launch is not xargs
        for form in FORMS if every else ("volume rm",):
            if "data" not in shell.volumes():
                filled(shell, labels=OF_APP)
            if form == "compose down":
                shell.out(f"{APP} create")
            found = came_of_it(shell, launch(shell, FORMS[form], **marks, **environ))
            assert found == expected, (column, form)
            shutil.rmtree(shell.store, ignore_errors=True)
            if form == "compose down":
                shell.out(f"{APP} rm --force")


# Refusals, and to whom they speak


@ONE
def test_ci_reads_the_code_first_then_the_facts_then_the_ways_on(shell):
    filled(shell)
    done = shell.run("docker volume rm data", **CI)
    assert done.returncode == 77
    assert done.stdout == ""
    first, *rest = done.stderr.splitlines()
    assert first.startswith("safedocker: refused (nobody-to-ask): data would be lost")
    told = "\n".join(rest)
    assert told.index("Would delete 1 volume") < told.index("SAFEDOCKER_MODE=backup docker")
    assert '[disposable] volumes = ["data"]' in told


@ONE
def test_ci_reads_one_json_object(shell):
    filled(shell)
    for line, code in (
        ("docker volume rm data", "nobody-to-ask"),
        ("docker -H unix:///nonexistent.sock volume rm data", "no-engine"),
    ):
        done = shell.run(line, SAFEDOCKER_FORMAT="json", **CI)
        told = json.loads(done.stderr)
        REFUSAL.validate(told)
        assert told["code"] == code
        assert told["exit_code"] == done.returncode
    told = json.loads(shell.run("docker volume rm data", SAFEDOCKER_FORMAT="json").stderr)
    (loss,) = told["refusal"]["plan"]["losses"]
    assert (loss["name"], loss["size"], loss["verdict"]["stake"]) == ("data", 6, "data")
    assert any("SAFEDOCKER_MODE=backup" in way for way in told["ways_on"])
    assert shell.volumes() == {"data"}


@ONE
def test_s1_an_agent_is_told_what_to_run_instead_and_what_to_ask(shell):
    (shell.home / "docker-compose.yml").write_text(COMPOSE)
    filled(shell, labels=OF_APP)
    for screen in (False, True):
        line = "docker compose -p app down -v"
        if screen:
            shown = shell.terminal(line, **AGENT)
            assert shown.ended() == 77
            told = shown.text.replace("\r", "")
        else:
            done = shell.run(line, **AGENT)
            assert done.returncode == 77
            told = done.stderr
        assert "What now" not in told
        assert "run instead, which keeps the volumes: docker compose -p app down\n" in told
        assert 'ask the person: "May I run `docker compose -p app down -v`?' in told
        assert "the named volume data (6 B)" in told
    assert shell.audit()[-1]["caller_mark"] == "CLAUDECODE"
    assert shell.volumes() == {"data"}


@ONE
@pytest.mark.parametrize(
    "bypass",
    [
        {"SAFEDOCKER_MODE": "allow"},
        {"SAFEDOCKER_MODE": "backup"},
        {"SAFEDOCKER": "off"},
        {"SAFEDOCKER_ASK_ABOVE": "1TB"},
        {"HOME": "{}"},
        {"XDG_CONFIG_HOME": "{}/.config"},
    ],
    ids=str,
)
def test_an_agent_gets_past_by_no_variable(shell, bypass):
    filled(shell)
    named = shell.home / "named/.config/safedocker"
    named.mkdir(parents=True)
    (named / "policy.toml").write_text('agent_variables = []\nmode = "allow"\n')
    environ = {name: word.format(shell.home / "named") for name, word in bypass.items()}
    done = shell.run("docker volume rm data", **AGENT, **environ)
    assert done.returncode == 77
    assert "refused (nobody-to-ask)" in done.stderr
    assert shell.volumes() == {"data"}
    if "HOME" in bypass:
        del shell.environ["XDG_CONFIG_HOME"]
        told = json.loads(shell.run("safedocker policy --json", **AGENT, **environ).stdout)
        assert told["caller"] == {"kind": "agent", "mark": "CLAUDECODE"}
        assert told["files"] == [
            {"file": f"{named}/policy.toml", "layer": "user", "loosens": False}
        ]
        policy(shell, '[protected]\nvolumes = ["da*"]\n')
        line = of_account(shell, "docker volume rm data")
        assert "refused (protected)" in shell.run(line, **AGENT, **environ).stderr


@ONE
def test_what_whoever_typed_sudo_protects_or_froze_holds_under_it(shell):
    filled(shell)
    anna = shell.home / "anna"
    (anna / ".config/safedocker").mkdir(parents=True)
    file = anna / ".config/safedocker/policy.toml"
    file.write_text('mode = "allow"\n[protected]\nvolumes = ["data"]\n')
    line = of_account(shell, "docker volume rm data", anna)
    done = shell.run(line, SUDO_UID="4242", SAFEDOCKER_MODE="backup")
    assert "refused (protected)" in done.stderr
    assert str(file) in done.stderr
    file.write_text('mode = "allow"\n')
    assert "refused (nobody-to-ask)" in shell.run(line, SUDO_UID="4242").stderr
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=2)
    told = {"until": until.isoformat(), "why": "release", "by": "anna"}
    file.with_name("freeze.json").write_text(json.dumps(told))
    done = shell.run(line, SUDO_UID="4242", SAFEDOCKER_MODE="allow", SAFEDOCKER="off")
    assert "refused (frozen)" in done.stderr
    assert shell.volumes() == {"data"}


@ONE
def test_off_goes_past_for_a_person_in_one_line_and_is_written_down(shell):
    filled(shell)
    done = shell.run("docker volume rm data", check=True, SAFEDOCKER="off")
    assert done.stdout == "data\n"
    assert done.stderr == "safedocker: SAFEDOCKER=off: nobody looks at what goes\n"
    last = shell.audit()[-1]
    assert (last["rule"], last["argv"]) == ("off", ["docker", "volume", "rm", "data"])
    assert shell.run("docker ps -q", check=True, SAFEDOCKER="off").stderr == ""


@ONE
def test_a_file_may_forbid_off(shell):
    filled(shell)
    policy(shell, "escape = false\n")
    done = shell.run("docker volume rm data", SAFEDOCKER="off")
    assert done.returncode == 77
    assert "counts for nothing here: the policy forbids it" in done.stderr
    assert "policy.toml:1" in done.stderr


# Files


@ONE
def test_s25_a_broken_file_stops_what_is_dangerous_and_nothing_else(shell):
    filled(shell)
    policy(shell, '\nmode = "sometimes"\n')
    done = shell.run("docker volume rm data")
    assert done.returncode == 78
    assert "policy.toml:2: 'sometimes' is no mode" in done.stderr
    assert shell.run("docker volume ls -q", check=True).stdout == "data\n"
    assert shell.run("docker run --rm busybox true").returncode == 0
    policy(shell, "")
    done = shell.run("docker volume rm data", SAFEDOCKER_MOD="deny")
    assert done.returncode == 78
    assert "did you mean SAFEDOCKER_MODE?" in done.stderr
    done = shell.run("docker volume ls -q && docker run --rm busybox true", SAFEDOCKER_MOD="deny")
    assert (done.returncode, done.stdout, done.stderr) == (0, "data\n", "")
    assert shell.volumes() == {"data"}


@ONE
def test_undo_needs_no_policy_that_checks(shell):
    filled(shell)
    shell.run("docker volume rm data", check=True, SAFEDOCKER_MODE="backup")
    policy(shell, "mode = \n")
    done = shell.run("safedocker undo", check=True)
    assert "policy.toml:1" in done.stderr
    assert (shell.place("data") / "rows").read_text() == "seven\n"


@ONE
def test_s25_what_an_engine_can_t_say_is_read_by_the_same_grammar_and_counts_as_the_worst(shell):
    gone = "docker -H unix:///nonexistent.sock"
    for words, code in (
        ("volume rm -f data", 69),
        ("volume remove data", 69),
        ("container rm -fv c", 69),
        ("compose -p app down --volumes", 69),
        ("system prune -af --volumes", 69),
        ("volume ls", 1),  # docker's own
        ("rmi x", 1),
    ):
        done = shell.run(f"{gone} {words}", SAFEDOCKER_MODE="backup")
        assert done.returncode == code, words
        assert ("nothing was removed" in done.stderr.lower()) is (code == 69)


@ONE
def test_s21_what_a_policy_lets_go_is_said_in_one_line(shell):
    filled(shell)
    policy(shell, '[caller.script]\nmode = "allow"\n')
    done = shell.run("docker volume rm data", check=True)
    assert done.stdout == "data\n"
    (line,) = done.stderr.splitlines()
    assert line.startswith("safedocker: Would delete 1 volume, 6 B: allowed by mode allow (")
    assert line.endswith("policy.toml:2)")
    assert shell.audit()[-1]["rule"] == "mode-allow"


@ONE
def test_s6_the_question_of_a_down_names_the_safer_verbs_first(shell):
    (shell.home / "docker-compose.yml").write_text(COMPOSE)
    shell.out("docker compose -p app create")
    (shell.place("data") / "rows").write_text("seven\n")
    screen = shell.terminal("docker compose -p app down -v").asked()
    before, _, _choices = screen.text.partition("What now")
    assert "`docker compose -p app down` keeps the volumes" in before
    assert "`docker compose -p app restart` the containers too" in before
    assert screen.type("\x03").ended() == 130


@ONE
def test_an_image_goes_only_where_the_policy_lets_it(shell):
    shell.out(
        "docker create --name one busybox && docker commit one mine:1 && docker tag busybox b:1"
    )
    policy(shell, '[loss]\nimage = "deny"\n')
    done = shell.run("docker rmi mine:1")
    assert done.returncode == 77
    assert "refused (mode-deny)" in done.stderr
    shell.run("docker rmi b:1", check=True)  # a name alone goes
    policy(shell, "")
    assert "Untagged: mine:1" in shell.run("docker rmi mine:1", check=True).stdout


@ONE
def test_s16_a_context_denies_and_another_wants_the_engine_s_name(shell):
    filled(shell)
    for name in ("prod", "stage"):
        shell.out(f"docker context create {name} --docker host=unix://{shell.engine.socket}")
    del shell.environ["DOCKER_HOST"]
    policy(shell, '[context.prod]\nmode = "deny"\n')
    link = shell.home / "link.sock"
    link.symlink_to(shell.engine.socket)
    for how in (
        "docker --context prod",
        "DOCKER_CONTEXT=prod docker",
        "docker --context stage",  # the same engine by other names
        f"docker -H unix://{link}",
        f"DOCKER_HOST=unix://{shell.engine.socket} DOCKER_CONFIG={shell.home} docker",
    ):
        done = shell.run(f"{how} volume rm data", SAFEDOCKER_MODE="backup")
        assert done.returncode == 77, how
        assert "refused (mode-deny)" in done.stderr
    policy(shell, '[context.stage]\nchallenge = "engine"\n')
    done = shell.run("docker -c stage volume rm data", SAFEDOCKER_MODE="backup")
    assert "refused (type-the-engine)" in done.stderr
    name = shell.out(f"docker -H unix://{shell.engine.socket} info -f '{{{{.Name}}}}'")
    screen = shell.terminal("docker -c stage volume rm data").asked().type("\r")
    screen.wait(f"type {name} ").type("wrong\r").wait("That is not").type("\r")
    assert screen.ended() == 77
    assert shell.volumes() == {"data"}
    screen = shell.terminal("docker -c stage volume rm data").asked().type("\r")
    assert screen.wait(f"type {name} ").type(f"{name}\r").ended() == 0
    assert len(shell.backups()) == 1
    shell.run("docker context rm -f prod stage", real=True)


@ONE
def test_a_project_s_file_loosens_once_a_person_trusts_it_and_until_it_changes(shell):
    project = shell.home / "app"
    project.mkdir()
    (project / ".safedocker.toml").write_text('[disposable]\nvolumes = ["data"]\n')
    line = "docker volume rm data"
    filled(shell)
    assert shell.run(line, cwd=project).returncode == 77
    assert shell.run("safedocker policy trust", cwd=project).returncode == 77
    screen = shell.terminal("safedocker policy trust", cwd=project)
    screen.wait('volumes = \\["data"\\]', "type trust ").type("trust\r")
    assert screen.ended() == 0
    assert shell.run(line, check=True, cwd=project).stdout == "data\n"
    filled(shell)
    with (project / ".safedocker.toml").open("a") as file:
        file.write("# a word more\n")
    assert shell.run(line, cwd=project).returncode == 77


@ONE
def test_the_policy_shows_where_each_value_stands(shell):
    policy(shell, '# mine\nmode = "deny"\n[caller.ci]\nmode = "backup"\n')
    told = shell.run("safedocker policy", check=True, SAFEDOCKER_BIND_MISSING="create").stdout
    lines = {line.split()[0]: line for line in told.splitlines() if line.split()}
    assert "policy.toml:2" in lines["mode"]
    assert lines["bind_missing"].rstrip().endswith("SAFEDOCKER_BIND_MISSING")
    assert lines["protect"].rstrip().endswith("default")
    answer = json.loads(shell.run("safedocker policy --json", check=True, **CI).stdout)
    assert answer["modes"]["ci"]["named_volume"]["mode"] == "backup"
    assert answer["caller"]["kind"] == "ci"
    assert shell.run("safedocker policy check .config/safedocker/policy.toml").returncode == 0


# Freezing


@ONE
def test_s15_a_freeze_stops_everybody_until_it_ends(shell):
    filled(shell)
    shell.run("safedocker freeze --for 2h 'the release'", check=True)
    policy(shell, 'mode = "allow"\n')
    for environ in ({}, {"SAFEDOCKER": "off"}, AGENT, {"SAFEDOCKER_MODE": "backup"}):
        done = shell.run("docker volume rm data", **environ)
        assert done.returncode == 77
        assert "refused (frozen): frozen until " in done.stderr
        assert "the release" in done.stderr
    assert shell.run("safedocker freeze --for 1h").returncode == 1, "it would end sooner"
    for environ in ({}, AGENT, CI):
        assert shell.run("safedocker unfreeze", **environ).returncode == 77
    screen = shell.terminal("safedocker unfreeze").wait("type unfreeze ").type("\r")
    assert screen.ended() == 77
    assert shell.run("docker volume rm data").returncode == 77
    screen = shell.terminal("safedocker unfreeze").wait("type unfreeze ").type("unfreeze\r")
    assert screen.ended() == 0
    shell.run("docker volume rm data", check=True)


@ONE
def test_rename_and_rescue_keep_to_what_is_protected_and_frozen(shell):
    filled(shell)
    policy(shell, '[protected]\nvolumes = ["data"]\n')
    for line in ("safedocker rename data other", "safedocker rescue --remove data"):
        done = shell.run(line)
        assert done.returncode == 77, line
        assert "data is protected" in done.stderr
    policy(shell, "")
    shell.run("safedocker freeze --for 1h release", check=True)
    assert "frozen until" in shell.run("safedocker rename data other").stderr
    assert shell.volumes() == {"data"}


@ONE
def test_a_label_can_hold_any_number(shell):
    filled(shell)
    filled(shell, "big", f"--label com.safedocker.owner={'9' * 5000}")
    assert shell.run("docker volume rm data").returncode == 77
    assert shell.run("docker volume rm big").returncode == 77


@ONE
def test_json_stands_alone_on_stderr(shell):
    filled(shell)
    done = shell.run("docker volume rm data", SAFEDOCKER="off", SAFEDOCKER_FORMAT="json", **AGENT)
    REFUSAL.validate(json.loads(done.stderr))


# The machine's file, in a mount namespace of its own: nothing of this machine is written to


@pytest.fixture
def machine(shell: Shell, tmp_path: Path) -> Iterator[Callable[[str], Shell]]:
    """Lets commands see a machine's policy of this text."""
    etc = tmp_path / "etc"
    shutil.copytree("/etc", etc, symlinks=True, ignore_dangling_symlinks=True)
    (etc / "safedocker").mkdir(exist_ok=True)
    before = shell.environ["PATH"]

    def write(text: str) -> Shell:
        (etc / "safedocker/policy.toml").write_text(text)
        return shell

    inside = tmp_path / "inside"
    inside.mkdir()
    for program in ("docker", "safedocker"):
        real = shutil.which(program, path=before)
        script = inside / program
        script.write_text(
            f"#!/bin/sh\nPATH={before}; export PATH\n"
            f'exec unshare --mount sh -c \'mount --bind {etc} /etc && exec {real} "$@"\' sh "$@"\n'
        )
        script.chmod(0o755)
    shell.environ["PATH"] = f"{inside}:{before}"
    yield write
    shell.environ["PATH"] = before


@ONE
def test_what_the_machine_binds_holds_against_the_person_and_the_environment(machine):
    shell = machine('binding = ["mode"]\nmode = "ask"\n')
    filled(shell)
    policy(shell, 'mode = "allow"\n[disposable]\nvolumes = ["*"]\n')
    for environ in ({}, {"SAFEDOCKER_MODE": "backup"}, {"SAFEDOCKER": "off"}):
        done = shell.run("docker volume rm data", **environ)
        assert done.returncode == 77, environ
        assert "refused (nobody-to-ask)" in done.stderr
    told = shell.run("safedocker policy", check=True).stdout
    assert "/etc/safedocker/policy.toml:2, binding" in told
    assert "what is binding is only tightened" in told
    machine('mode = "backup"\n')
    policy(shell, "")
    shell.run("docker volume rm data", check=True)
    assert len(shell.backups()) == 1


@ONE
def test_a_machine_s_broken_file_stops_what_is_dangerous(machine):
    shell = machine("mode = \n")
    filled(shell)
    done = shell.run("docker volume rm data", SAFEDOCKER="off")
    assert done.returncode == 78
    assert "/etc/safedocker/policy.toml:1" in done.stderr
    assert shell.volumes() == {"data"}


# Labels that declare what may go


@ONE
def test_a_label_of_the_image_declares_no_container_disposable(shell):
    label = "org.testcontainers=true"
    shell.out(
        f"docker create --name base busybox && docker commit -c 'LABEL {label}' base labelled"
    )
    for name, options in (
        ("of-image", "labelled"),
        ("its-own", f"--label {label} busybox"),
        ("other", f"--label {label} labelled2"),
    ):
        if name == "other":
            shell.out("docker commit -c 'LABEL org.testcontainers=no' base labelled2")
        shell.out(f"docker run --name {name} -v /data {options} sh -c 'echo x >/data/x'")
    refused = shell.run("docker rm -v of-image")
    assert refused.returncode == 77
    assert "refused (nobody-to-ask)" in refused.stderr
    for name in ("its-own", "other"):
        shell.run(f"docker rm -v {name}", check=True)
        assert shell.audit()[-1]["rule"] == "disposable"
    shell.out("docker rm base")
