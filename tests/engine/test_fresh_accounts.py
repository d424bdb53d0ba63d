"""Fresh accounts with the shells that people have: safedocker installed, guarding, and gone again,
as a new user does it. Each logs in on a machine of its own."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator

import pytest

from tests.conftest import missing
from tests.debian import Unavailable
from tests.engines import PrivateEngine
from tests.machine import PROGRAM, PrivateMachine, standing

OURS = f"{PROGRAM}/bin/safedocker"
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


@pytest.fixture(params=ACCOUNTS.values(), ids=ACCOUNTS)
def account(request, machine) -> Iterator[Account]:
    made = Account(machine, *request.param)
    yield made
    made.machine.run("userdel", "--force", "--remove", made.name)


@pytest.fixture
def ana(machine) -> Iterator[Account]:
    made = Account(machine, "ana", "/bin/bash")
    yield made
    made.machine.run("userdel", "--force", "--remove", made.name)


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

    def append(self, name: str, text: str) -> None:
        with self.machine.path(f"{self.home}/{name}").open("a") as file:
            file.write(text)

    def state(self):
        """All of the home but what the shells write for themselves whenever they run, and the
        audit, which stays."""
        found = self.machine.state(self.home)
        kept = f"{self.home}/.local/state"
        return {
            name: value
            for name, value in found.items()
            if not name.endswith(SHELL_OWN) and not f"{name}/".startswith(f"{kept}/")
        }

    def is_refused(self, line: str) -> bool:
        """Is the line refused by us, its volume still there and named?"""
        done = self.log_in(line, check=False)
        assert self.machine.engine.run("docker", "volume", "ls", "-q").stdout.split().count(
            self.volume
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
    account.append(".profile", "# mine too\n")
    seen = account.type(("safedocker uninstall", "type yes"), ("yes", "the audit stays"))
    assert account.state() == with_more(before, f"{account.home}/.profile", b"# mine too\n")
    assert account.log_in("env").stdout == environ


def with_more(state, file, more):
    """A state with more at the end of one file."""
    *attributes, held = state[file]
    return state | {file: (*attributes, held + more)}
