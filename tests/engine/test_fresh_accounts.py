"""Fresh accounts with the shells that people have: safedocker installed, guarding, and gone again,
as a new user does it. Each logs in on a machine of its own."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
from collections.abc import Iterator

import pytest

from tests.conftest import missing
from tests.debian import Unavailable
from tests.engines import PrivateEngine
from tests.machine import PROGRAM, PrivateMachine, standing

OURS = f"{PROGRAM}/bin/safedocker"
ALL = ("install", "--system", "--yes")
ACCOUNTS = {
    "bash": ("ana", "/bin/bash"),
    "zsh": ("zoe", "/usr/bin/zsh"),
    "fish": ("fay", "/usr/bin/fish"),
    "sh": ("sol", "/bin/sh"),
}
SHELL_OWN = ("fish_variables", "fish_history", ".bash_history", ".zsh_history")


@pytest.fixture(scope="module")
def machine(engine26: PrivateEngine) -> Iterator[PrivateMachine]:
    try:
        with engine26.swept(), standing(engine26) as machine:
            yield machine
    except Unavailable as reason:
        missing("26", reason)


@contextlib.contextmanager
def on(machine: PrivateMachine, name: str, shell: str) -> Iterator[Account]:
    """A fresh account, which is gone afterwards."""
    try:
        yield Account(machine, name, shell)
    finally:
        machine.run("userdel", "--force", "--remove", name)
        machine.path(f"/etc/sudoers.d/{name}").unlink()


@pytest.fixture(params=list(ACCOUNTS.values()), ids=list(ACCOUNTS))
def account(request, machine) -> Iterator[Account]:
    with on(machine, *request.param) as made:
        yield made


@pytest.fixture
def ana(machine) -> Iterator[Account]:
    with on(machine, "ana", "/bin/bash") as made:
        yield made


@pytest.fixture
def system(machine) -> Iterator[PrivateMachine]:
    """The machine with its shims; what a test leaves of them goes."""
    machine.run(OURS, "install", "--system", "--yes")
    yield machine
    for name in ("docker", "docker-compose", "safedocker"):
        machine.path(f"/usr/local/bin/{name}").unlink(missing_ok=True)


class Account:
    """Somebody's fresh account, as useradd makes it, with a volume that holds data."""

    def __init__(self, machine: PrivateMachine, name: str, shell: str) -> None:
        self.machine = machine
        self.name = name
        self.home = machine.add_account(name, shell)
        # What a desktop makes, and what fish makes when it first starts.
        self.log_in("mkdir -p ~/.local/state ~/.cache ~/.local/share/fish/generated_completions")
        if shell.endswith("fish"):
            self.type(("echo on''ce", "once"))
        if shell.endswith("zsh"):
            self.write(".zshrc", "")  # or zsh asks at a terminal what it should be
        engine = machine.engine
        self.volume = f"{name}-data"
        engine.run("docker", "volume", "create", self.volume)
        mount = f"{self.volume}:/d"
        engine.run("docker", "run", "--rm", "-v", mount, "busybox", "sh", "-c", "echo 1 >/d/file")

    def log_in(self, line, *, check=True):
        return self.machine.log_in(self.name, line, check=check)

    def write(self, name: str, text: str) -> None:
        file = self.machine.path(f"{self.home}/{name}")
        file.write_text(text)
        self.machine.run("chown", f"{self.name}:", f"{self.home}/{name}")

    def state(self):
        """All of the home but what the shells write for themselves whenever they run, and what
        the audit leaves, which stays."""
        found = self.machine.state(self.home)
        kept = f"{self.home}/.local/state"
        return {
            name: value
            for name, value in found.items()
            if not name.endswith(SHELL_OWN) and not f"{name}/".startswith(f"{kept}/")
        }

    def files(self):
        """The same without what each user's own docker commands leave in their cache."""
        return {name: value for name, value in self.state().items() if "/.cache" not in name}

    def is_refused(self, line: str) -> bool:
        """Is the line refused by us, its volume still there and named?"""
        done = self.log_in(line, check=False)
        assert (
            self.machine.engine.run("docker", "volume", "ls", "-q")
            .stdout.split()
            .count(self.volume)
        ), f"{line} took the volume: {done.stderr}"
        return "safedocker: " in done.stderr and self.volume in done.stderr

    def type(self, *lines: tuple[str, str]) -> str:
        """Log in at a terminal, type each line and wait for what is to appear."""
        child = self.machine.terminal(self.name)
        try:
            child.sendline("echo re''ady")
            child.expect("ready")
            seen = ""
            for line, expected in lines:
                child.sendline(line)
                child.expect(expected)
                seen += f"{child.before}{child.after}"
            return seen
        finally:
            child.close(force=True)


def test_a_fresh_account_installs_is_guarded_and_uninstalls(account):
    account.write(".zshrc", "# mine\nPATH=/opt/own/bin:$PATH")  # no newline at its end
    before = account.state()
    environ = account.log_in("env").stdout
    seen = account.type((f"{OURS} install", "type yes"), ("yes", "safedocker doctor"))
    assert ">>> safedocker >>>" in seen
    rm = f"docker volume rm {account.volume}"
    for line in (rm, f"echo {account.volume} | xargs docker volume rm", f"sh -c '{rm}'"):
        assert account.is_refused(line)
    (where,) = account.log_in("command -v docker").stdout.split()
    assert where == f"{account.home}/.local/share/safedocker/shims/docker"
    account.type((rm, "What now"), ("\x03", "nothing"))
    more = account.machine.path(f"{account.home}/.profile")
    with more.open("a") as file:
        file.write("# mine too\n")
    seen = account.type(("safedocker uninstall", "type yes"), ("yes", "the audit stays"))
    assert more.read_text().endswith("fi\n# mine too\n")
    os.truncate(more, more.stat().st_size - len("# mine too\n"))
    assert account.state() == before
    assert account.log_in("env").stdout == environ


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_functions_guard_what_is_typed_alone(machine, shell):
    with on(machine, *ACCOUNTS[shell]) as account:
        before, environ = account.state(), account.log_in("env").stdout
        account.log_in(f"{OURS} install --functions --yes")
        rm = f"docker volume rm {account.volume}"
        account.type((rm, "What now"), ("\x03", "nothing"))
        assert account.log_in("env").stdout == environ
        assert account.log_in("sh -c 'command -v docker'").stdout == "/usr/bin/docker\n"
        account.log_in(f"{OURS} uninstall --yes")
        assert account.state() == before


def test_functions_and_path_take_each_others_place(ana):
    before = ana.state()
    for flag in ("--functions", "", "--functions", ""):
        ana.log_in(f"{OURS} install --yes {flag}")
    assert ana.log_in("command -v docker").stdout.endswith("/shims/docker\n")
    rc = ana.machine.path(f"{ana.home}/.bashrc").read_bytes()
    assert rc.count(b">>> safedocker >>>") == 2
    ana.log_in("safedocker uninstall --yes")
    assert ana.state() == before


def test_nothing_is_written_where_nobody_can_say_so(ana):
    before = ana.state()
    for line in (f"{OURS} install", f"{OURS} install --dry-run"):
        done = ana.log_in(f"{line} </dev/null", check=False)
        assert done.returncode == (0 if "dry" in line else 77)
        assert ">>> safedocker >>>" in done.stdout
    assert ana.state() == before


def test_root_does_not_install_into_somebodys_home(ana):
    before = ana.state()
    done = ana.log_in(f"sudo env HOME={ana.home} {OURS} install --yes", check=False)
    assert (done.returncode, ana.state()) == (1, before)
    assert "is not yours" in done.stderr


# the doctor


def found(account, program="safedocker"):
    """What is wrong with shells and shims: subject, sentence and repair."""
    told = json.loads(account.log_in(f"{program} doctor --quick --json", check=False).stdout)
    kinds = {"shell", "shim", "store", "audit", "leftover"}
    return [one for one in told["findings"] if one["kind"] in kinds]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_doctor_sees_what_each_shell_runs(machine, shell):
    with on(machine, *ACCOUNTS[shell]) as account:
        machine.run("usermod", "--append", "--groups", "sudo", account.name)
        (one,) = found(account, OURS)[:1]
        assert (one["subject"], one["to_do"]) == ("installation", "safedocker install")
        account.log_in(f"{OURS} install --yes")
        (one,) = found(account)  # every shell is well, and sudo is not
        assert (one["subject"], one["to_do"]) == ("sudo", "sudo safedocker install --system")
        machine.run(OURS, *ALL)
        try:
            assert found(account) == []
            seen = account.log_in("safedocker doctor --quick", check=False).stdout
            assert f"{shell} (login): {account.home}/.local/share/safedocker/shims/docker" in seen
            assert "sudo (root): /usr/local/bin/docker: guarded" in seen
        finally:
            machine.run("sh", "-c", "rm /usr/local/bin/*")


UNGUARDED = {
    "another-path-first": ("PATH=/usr/bin:$PATH", "stands on PATH before the shim"),
    "an-alias": ("alias docker='sudo docker'", "is an alias there"),
    "a-function": ("docker() { /usr/bin/docker; }", "is a function there"),
    "no-end": ("sleep 60", "has not started within 5 seconds"),
}


def test_the_doctor_finds_what_comes_after_our_lines(ana):
    ana.log_in(f"{OURS} install --yes")
    rc = ana.machine.path(f"{ana.home}/.bashrc")
    before = rc.read_text()
    for line, told in UNGUARDED.values():
        rc.write_text(f"{before}{line}\n")
        (one,) = found(ana)
        assert one["subject"] == "bash (interactive)"
        assert told in one["what"]
        assert one["to_do"]
    rc.write_text(f"{before}alias docker='docker --tls'\n")
    assert found(ana) == []


# for a machine


SYSTEM = ("/usr/local/bin", "/usr/local/sbin", "/etc", PROGRAM)


@pytest.fixture
def everybody(machine) -> Iterator[list[Account]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(on(machine, *one)) for one in ACCOUNTS.values()]


def test_the_machines_shims_guard_everybody_and_sudo(machine, everybody):
    before = machine.state(*SYSTEM)
    homes = [account.files() for account in everybody]
    done = machine.run(OURS, "install", "--system", "--yes")
    assert "/usr/local/bin/docker stands before /usr/bin/docker" in done.stdout
    for name in ("docker", "docker-compose", "safedocker"):
        status = machine.path(f"/usr/local/bin/{name}").stat()
        assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (0, 0, 0o755)
    for account in everybody:
        rm = f"docker volume rm {account.volume}"
        assert account.is_refused(rm)
        assert account.is_refused(f"sudo {rm}")
        assert "backups" in account.log_in("safedocker --help").stdout
    ana = everybody[0]
    ana.type((f"sudo docker volume rm {ana.volume}", "What now"), ("\x03", "nothing"))
    assert machine.run(OURS, "uninstall", "--system", "--yes").returncode == 0
    assert [account.files() for account in everybody] == homes
    assert machine.state(*SYSTEM) == before


def test_both_at_once_find_the_real_one_s20(system, ana):
    ana.log_in("safedocker install --yes")
    told = ana.log_in("docker version --format '{{.Server.Version}}'; echo $SAFEDOCKER_DEPTH")
    assert told.stdout.startswith(system.engine.version)
    assert ana.is_refused(f"docker volume rm {ana.volume}")
    shim = system.path(f"{ana.home}/.local/share/safedocker/shims/docker").read_text()
    assert "sd_real=/usr/bin/docker\n" in shim
    ana.log_in("safedocker uninstall --yes")
    assert ana.log_in("command -v docker").stdout == "/usr/local/bin/docker\n"


def test_an_agents_command_is_refused_and_told_by_name_s1(system, ana):
    rm = f"docker volume rm {ana.volume}"
    assert ana.is_refused(f"CLAUDECODE=1 {rm}")
    (line,) = audit(system, ana.home)
    assert (line["outcome"], line["caller"], line["caller_mark"]) == (
        "refused",
        "agent",
        "CLAUDECODE",
    )
    assert ana.is_refused(f"CLAUDECODE=1 sudo {rm}")
    *_, line = audit(system, "/root")
    assert line["caller_mark"] == "CLAUDECODE", "though sudo takes the variable away"
    ana.type((f"CLAUDECODE=1 sudo sh -c '{rm}'", r"ask the person"))
    for words in ("--yes", "--system --yes", f"--shims {ana.home}/.local/share/safedocker/shims"):
        done = ana.log_in(f"CLAUDECODE=1 safedocker uninstall {words}", check=False)
        assert done.returncode == 77
        assert "an agent (CLAUDECODE) does not uninstall" in done.stderr
    assert ana.is_refused(rm)


def test_a_vendors_script_under_sudo_is_named_s26(system, ana):
    ana.write("cleanup.sh", f"#!/bin/sh\ndocker volume rm {ana.volume}\n")
    assert ana.is_refused("sudo sh ./cleanup.sh")
    *_, line = audit(system, "/root")
    assert line["parent"] == "sh ./cleanup.sh"
    assert line["user"] == 0
    ana.log_in("safedocker freeze --for 1h release")
    done = ana.log_in("sudo sh ./cleanup.sh", check=False)
    assert "refused (frozen)" in done.stderr, "her freeze holds under sudo too"


def audit(machine, home):
    text = machine.path(f"{home}/.local/state/safedocker/audit.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


BROKEN = {
    "python-gone": "rm /opt/safedocker/bin/python",
    "package-gone": "mv /opt/safedocker/lib /opt/safedocker/other",
    "dependencies-gone": "rm -r /opt/safedocker/lib/python3*/site-packages/docker",
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_what_is_broken_lets_nothing_pass_s21_s25(system, ana, broken):
    system.run("cp", "-a", "/opt/safedocker", "/opt/kept")
    try:
        system.run("sh", "-c", broken)
        done = ana.log_in(f"docker volume rm {ana.volume}", check=False)
        assert done.returncode in {1, 70}
        assert done.stderr
        assert ana.volume in system.engine.run("docker", "volume", "ls", "-q").stdout
        assert ana.log_in("docker ps -q").stdout == ""
    finally:
        system.run("rm", "-rf", "/opt/safedocker")
        system.run("mv", "/opt/kept", "/opt/safedocker")


# whatever a user's environment says, the machine's shims start what root put there


EVIL = "import os; os.write(2, b'EVIL'); os._exit(0)\n"
ENVIRONMENTS = {
    "pythonpath": "PYTHONPATH=~/evil",
    "pythonhome": "PYTHONHOME=~/evil",
    "pythonstartup": "PYTHONSTARTUP=~/evil/os.py PYTHONINSPECT=1",
    "user-site": "PYTHONUSERBASE=~/evil",
    "virtual-environment": "VIRTUAL_ENV=~/evil PATH=~/evil/bin:$PATH",
    "pyenv": "PYENV_ROOT=~/evil PYENV_VERSION=evil PATH=~/evil/bin:$PATH",
    "working-directory": "cd ~/evil &&",
    "env-of-sh": "ENV=~/evil/rc BASH_ENV=~/evil/rc",
    "words-apart": "IFS=/",
    "functions": "export -f exec printf docker sh '['; ",
    "options-of-sh": "env SHELLOPTS=errexit:nounset:noglob BASHOPTS=expand_aliases",
    "depth": "SAFEDOCKER_DEPTH=1000",
    "depth-that-is-no-number": "SAFEDOCKER_DEPTH='1 || exit 0'",
}
EVIL_MODULES = (
    *("os", "enum", "sys", "site", "sitecustomize", "usercustomize", "safedocker", "docker"),
    *("click", "json", "typing"),
)


@pytest.fixture
def bash_is_sh(machine) -> Iterator[None]:
    """/bin/sh as on Fedora and macOS: bash, which takes functions from the environment."""
    sh = machine.path("/usr/bin/sh")
    before = sh.readlink()
    sh.unlink()
    sh.symlink_to("bash")
    yield
    sh.unlink()
    sh.symlink_to(before)


OF_SH = ("env-of-sh", "words-apart", "functions", "options-of-sh")


@pytest.mark.parametrize(
    ("environ", "sh"),
    [(value, "dash") for value in ENVIRONMENTS.values()]
    + [(ENVIRONMENTS[name], "bash") for name in OF_SH],
    ids=[f"{name}-dash" for name in ENVIRONMENTS] + [f"{name}-bash" for name in OF_SH],
)
def test_a_users_environment_changes_nothing_in_what_runs(system, ana, environ, sh, request):
    if sh == "bash":
        request.getfixturevalue("bash_is_sh")
    ana.log_in("mkdir -p evil/bin evil/lib/python3.11/site-packages")
    for name in EVIL_MODULES:
        for place in ("evil", "evil/lib/python3.11/site-packages"):
            ana.write(f"{place}/{name}.py", EVIL)
    ana.write("evil/rc", "echo EVIL >&2; exit 0\n")
    for name in ("python", "python3", "printf", "[", "exec"):
        ana.write(f"evil/bin/{name}", "#!/bin/sh\necho EVIL >&2\n")
    ana.log_in("chmod +x evil/bin/*")
    functions = "exec() { echo EVIL; }; printf() { echo EVIL; }; docker() { echo EVIL; }; "
    functions += "sh() { echo EVIL; }; function [ { echo EVIL; }; "
    line = f"{environ} /usr/local/bin/docker volume rm {ana.volume}"
    if "export -f" in environ:
        line = functions + line
    done = ana.log_in(f"bash -c {shlex.quote(line)}", check=False)
    assert "EVIL" not in (done.stderr + done.stdout).splitlines()
    assert done.returncode in {77, 127}
    assert "safedocker: " in done.stderr
    assert ana.volume in system.engine.run("docker", "volume", "ls", "-q").stdout


# what the machine's shims must not start


UNFIT = {
    "python-is-others": ("chown ana /opt/safedocker/bin", "belongs to the user"),
    "others-write-a-module": (
        "chmod o+w /opt/safedocker/lib/python3*/site-packages/click/core.py",
        "can be written by others",
    ),
    "others-write-the-folder": ("chmod g+w /usr/local/bin", "can be written by others"),
    "not-everybody-reads": ("chmod 700 /opt/safedocker", "can't be read by everybody"),
    "real-is-others": (
        "cp /usr/bin/docker /home/ana/docker && export PATH=/home/ana:$PATH",
        "/home/ana is somebody's home",
    ),
}


@pytest.mark.parametrize(("unfit", "why"), UNFIT.values(), ids=UNFIT)
def test_what_others_could_change_is_not_installed_for_all(machine, ana, unfit, why):
    machine.run("cp", "-a", "/opt/safedocker", "/opt/kept")
    try:
        done = machine.run(
            "sh",
            "-c",
            f"{unfit}; {OURS} install --system --yes; code=$?; "
            "chmod g-w /usr/local/bin; exit $code",
            check=False,
        )
    finally:
        machine.run("rm", "-rf", "/opt/safedocker")
        machine.run("mv", "/opt/kept", "/opt/safedocker")
    assert done.returncode == 77
    assert why in done.stderr
    assert list(machine.path("/usr/local/bin").iterdir()) == []


def test_a_program_in_a_home_is_not_installed_for_all(machine, ana):
    machine.run("cp", "-a", "/opt/safedocker", f"{ana.home}/own")
    done = machine.run(f"{ana.home}/own/bin/python", "-m", "safedocker", *ALL, check=False)
    assert done.returncode == 77
    assert "is somebody's home" in done.stderr
    done = ana.log_in(f"{OURS} {' '.join(ALL)}", check=False)
    assert done.returncode == 77
    assert "only root" in done.stderr


def test_a_real_docker_in_the_shims_place_is_left_alone(machine, ana):
    place = machine.path("/usr/local/bin/docker")
    place.write_bytes(b"#!/bin/sh\necho real\n")
    place.chmod(0o755)
    try:
        done = machine.run(OURS, *ALL, check=False)
        assert done.returncode == 1
        assert "mv /usr/local/bin/docker /usr/local/libexec/" in done.stderr
        assert place.read_bytes() == b"#!/bin/sh\necho real\n"
        (move,) = [line for line in done.stderr.splitlines() if "mkdir -p" in line]
        before, _, ours = move.partition("mkdir -p")[2].partition("safedocker install")
        machine.run("sh", "-c", f"mkdir -p {before} {OURS} install {ours} --yes")
        assert machine.run("docker", "ps").stdout == "real\n"
        # A link, from its own place alone; and what it names may go by that name (snap).
        link = "rm /usr/local/bin/*; ln -s ../libexec/docker /usr/local/bin/docker"
        machine.run("sh", "-c", f"{link}; mv /usr/local/libexec/docker /usr/local/libexec/one")
        machine.run("ln", "-s", "one", "/usr/local/libexec/docker")
        done = machine.run(OURS, *ALL, check=False)
        assert done.returncode == 1
        (move,) = [line for line in done.stderr.splitlines() if "rm /usr" in line]
        assert "a link to /usr/local/libexec/docker" in done.stderr
        line = move[move.index("rm /usr") :].replace("safedocker install", f"{OURS} install")
        machine.run("sh", "-c", f"{line} --yes")
        assert machine.run("docker", "ps").stdout == "real\n"
        shim = machine.path("/usr/local/bin/docker").read_text()
        assert "sd_real=/usr/local/libexec/docker\n" in shim
    finally:
        machine.run("sh", "-c", "rm -rf /usr/local/libexec /usr/local/bin/*")
