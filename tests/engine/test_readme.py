"""Every block of README is run, in the way that its first line has here; without one it fails."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from safedocker.install.system import RECIPE
from tests.engine.conftest import ROOT, Shell
from tests.machine import PROGRAM

pytestmark = pytest.mark.engine


def blocks() -> dict[str, str]:
    """The indented blocks, by their first two lines."""
    found: list[list[str]] = [[]]
    for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("    ") or (not line and found[-1]):
            found[-1].append(line[4:])
        elif found[-1]:
            found.append([])
    told = ["\n".join(lines).strip() + "\n" for lines in found if lines]
    return {"\n".join(text.split("\n")[:2]): text for text in told}


def targets(_shell: Shell, text: str) -> None:
    """Each is a target of the Makefile; what they do is what CI runs, or a person at leisure."""
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        assert words[0] == "make"
        done = subprocess.run(["make", "-n", words[1]], cwd=ROOT, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr


def a_policy(shell: Shell, text: str) -> None:
    """It checks, and is what is then in force."""
    folder = shell.home / ".config/safedocker"
    folder.mkdir(parents=True)
    (folder / "policy.toml").write_text(text)
    shell.run("safedocker policy check .config/safedocker/policy.toml", check=True)
    told = json.loads(shell.run("safedocker policy --json", check=True).stdout)
    assert told["modes"]["ci"]["named_volume"]["mode"] == "backup"
    for name in ("pgdata", "db-backups"):
        shell.out(f"docker volume create {name}")
        done = shell.run(f"docker volume rm {name}", CI="1")
        assert "refused (protected)" in done.stderr


def a_freeze(shell: Shell, text: str) -> None:
    freeze, unfreeze = text.splitlines()
    shell.run(freeze, check=True)
    shell.out("docker volume create data")
    (shell.place("data") / "rows").write_text("seven\n")
    assert "refused (frozen)" in shell.run("docker volume rm data").stderr
    screen = shell.terminal(unfreeze).wait("type unfreeze ").type("unfreeze\r")
    assert screen.ended() == 0


def a_refusal(shell: Shell, text: str) -> None:
    shell.out("docker volume create data")
    (shell.place("data") / "rows").write_text("seven\n")
    done = shell.run("docker volume rm data", CI="true")
    assert done.stderr.splitlines()[0] == text.strip()


def for_yourself(shell: Shell, text: str) -> None:
    """At a terminal, in a home of its own; test_recipes.py pastes the first two lines too."""
    _venv, _pip, install, doctor = text.splitlines()
    install = install.partition("/bin/")[2]
    (shell.home / ".bashrc").write_text("# mine\n")
    screen = shell.terminal(install, SHELL="/bin/bash").wait("type yes ").type("yes\r")
    assert screen.ended() == 0, screen.text
    assert "safedocker" in (shell.home / ".bashrc").read_text()
    told = shell.run(f"{doctor.partition('#')[0]} --quick", SHELL="/bin/bash").stdout
    assert f"{shell.home}/.local/share/safedocker/shims/docker" in told
    shell.run("safedocker uninstall --yes", check=True, SHELL="/bin/bash")
    assert (shell.home / ".bashrc").read_text() == "# mine\n"


def for_a_machine(_shell: Shell, text: str) -> None:
    """The refusals give the same recipe; test_fresh_accounts.py installs by it."""
    told = " ".join(RECIPE.split()).replace(" && ", "; ")
    assert "; ".join(text.splitlines()) in told
    assert text.splitlines()[1].split()[-1] == PROGRAM


def in_ci(shell: Shell, text: str) -> None:
    """test_recipes.py pastes the first two lines too."""
    _venv, _pip, install, *exports = text.splitlines()
    lines = [install.partition("/bin/")[2], *exports]
    shell.out("docker volume create data")
    (shell.place("data") / "rows").write_text("seven\n")
    line = "\n".join([*lines, "command -v docker", "docker volume rm data"])
    done = shell.run(f"set -e\n{line}", check=True, CI="true")
    assert f"{shell.home}/shims/docker" in done.stdout
    assert len(shell.backups()) == 1


def a_pipeline(shell: Shell, text: str) -> None:
    (shell.home / "compose.yaml").write_text(
        "services: {web: {image: busybox, volumes: [uploads:/up]}}\nvolumes: {uploads: {}}\n"
    )
    shell.out("docker compose -p app create")
    (shell.place("app_uploads") / "rows").write_text("seven\n")
    shell.run(f"set -e\n{text}", check=True, CI="true", COMPOSE_PROJECT_NAME="app")
    assert len(shell.backups()) == 1
    (shell.place("scratch") / "rows").write_text("seven\n")
    shell.run("docker volume rm scratch", check=True, CI="true")


def as_root(_shell: Shell, text: str) -> None:
    """In a mount namespace of its own, so that nothing of this machine is written to."""
    places = [word for word in text.split() if word.startswith("/var/")]
    hidden = " && ".join(f"mount -t tmpfs none {Path(place).parent}" for place in places[:2])
    line = f"{hidden} && {text.strip()}\nstat -c %a {' '.join(places[:2])}"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", line], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["1777"] * 2


def _labels(text: str) -> set[str]:
    return set(re.findall(r"^ +([a-z][a-z ]*):  ", text, flags=re.MULTILINE))


def a_log(shell: Shell, text: str) -> None:
    shell.out("docker volume create pgdata")
    (shell.place("pgdata") / "rows").write_text("seven\n")
    (shell.home / "cleanup.sh").write_text("docker volume rm pgdata\nexit 0\n")
    shell.run("sh cleanup.sh", check=True, SAFEDOCKER_MODE="backup")
    told = shell.run("safedocker log --volume pgdata", check=True).stdout
    first = text.partition("\n")[0]
    assert told.startswith(first)
    assert _labels(told) == _labels(text)


def a_storage(shell: Shell, text: str) -> None:
    (shell.home / "compose.yaml").write_text(
        "services: {web: {image: busybox, volumes: [/x, uploads:/up]}}\n"
        "volumes: {uploads: {name: uploads}}\n"
    )
    shell.out("docker compose -p app create")
    told = shell.run("safedocker storage web", check=True).stdout
    for column in re.split(r"  +", text.partition("\n")[0].strip()):
        assert column in {"...", "PLACE"} or re.search(rf"\b{column}\b", told), column
    for word in ("left behind", "goes", "stays", "uploads", "writable layer of "):
        assert word in told, word


def an_orphan(shell: Shell, text: str) -> None:
    """The commands that are printed are those of the example."""
    shell.out("docker run --name pg -v /data busybox sh -c 'echo x >/data/x'")
    shell.run("docker rm pg", check=True)
    told = shell.run("safedocker rescue", check=True).stdout
    assert "it was container pg's" in told
    for label in _labels(text):
        assert re.search(rf"^ +{label}: ", told, flags=re.MULTILINE), label


WAYS: dict[str, Callable[[Shell, str], None]] = {
    "make demo": targets,
    "make setup": targets,
    "# ~/.config/safedocker/policy.toml": a_policy,
    "safedocker freeze": a_freeze,
    "safedocker: refused": a_refusal,
    "python3 -m venv ~": for_yourself,
    "umask 022": for_a_machine,
    "python3 -m venv .": in_ci,
    "docker volume create --label": a_pipeline,
    "install -d": as_root,
    "pgdata: ": a_log,
    "PLACE ": a_storage,
    "4f0c1d2e3a4b ": an_orphan,
}


@pytest.mark.parametrize("engine", ["26"], indirect=True)
@pytest.mark.parametrize("first", blocks())
def test_a_block_of_the_readme_does_what_it_says(shell, first):
    fits = [start for start in WAYS if first.startswith(start)]
    assert fits, "no way to run it"
    way = WAYS[max(fits, key=len)]
    way(shell, blocks()[first])
