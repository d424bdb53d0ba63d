"""README's recipes, pasted line by line on a fresh machine that has Debian's Python and nothing of
safedocker: pip fetches what it needs as it does for anybody. Minutes, so it is played."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.debian import Unavailable
from tests.engine.conftest import ROOT
from tests.engine.test_fresh_accounts import Account, on
from tests.engine.test_readme import blocks
from tests.engines import PrivateEngine
from tests.machine import PrivateMachine

pytestmark = pytest.mark.played

SOURCE = "/srv/safedocker"
NOT_SOURCE = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "*.egg-info")


@pytest.fixture(scope="module")
def machine(engine26: PrivateEngine) -> Iterator[PrivateMachine]:
    """With a copy of this source, as somebody has it who has just fetched it."""
    try:
        with engine26.swept(), PrivateMachine(engine26) as machine:
            with tempfile.TemporaryDirectory() as folder:
                copy = Path(folder, "safedocker")
                shutil.copytree(ROOT, copy, ignore=NOT_SOURCE)
                subprocess.run(["cp", "-r", copy, machine.path("/srv")], check=True)
            machine.run("chmod", "-R", "a+rX", SOURCE)
            yield machine
    except Unavailable as reason:
        missing("26", reason)


@pytest.fixture
def ana(machine) -> Iterator[Account]:
    with on(machine, "ana", "/bin/bash") as made:
        made.log_in(f"cp -r {SOURCE} source")
        yield made


def pip_s_settings() -> str:
    """Where this machine's pip, and nobody else's, is told to fetch from."""
    told = [
        f"{name}={shlex.quote(value)}"
        for name, value in os.environ.items()
        if name.startswith("PIP_") or name.lower() in {"http_proxy", "https_proxy", "no_proxy"}
    ]
    return f"export {' '.join(told)}\n" if told else ""


def recipe(start: str) -> str:
    (found,) = [text for first, text in blocks().items() if first.startswith(start)]
    return found


def test_for_yourself(ana):
    *install, doctor = recipe("python3 -m venv ~").splitlines()
    before = ana.state()
    lines = "\n".join(install).replace("safedocker install", "safedocker install --yes")
    ana.log_in(f"{pip_s_settings()}cd source && set -e\n{lines}")
    seen = ana.log_in(f"{doctor.partition('#')[0]} --quick", check=False).stdout
    assert f"bash (login): {ana.home}/.local/share/safedocker/shims/docker: guarded" in seen
    assert ana.is_refused(f"docker volume rm {ana.volume}")
    ana.log_in("safedocker uninstall --yes; rm -r ~/.local/lib ~/.cache/pip", check=False)
    after = ana.state()
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    assert {name for name in changed if "/source" not in name} <= {f"{ana.home}/.local"}


def test_for_everybody(machine, ana):
    lines = recipe("umask 022").replace("install --system", "install --system --yes")
    machine.run("sh", "-c", f"{pip_s_settings()}cd {SOURCE} && set -e\n{lines}", timeout=600)
    try:
        assert ana.is_refused(f"docker volume rm {ana.volume}")
        assert ana.is_refused(f"sudo docker volume rm {ana.volume}")
    finally:
        machine.run("/usr/local/bin/safedocker", "uninstall", "--system", "--yes")
    assert ana.log_in("command -v docker").stdout == "/usr/bin/docker\n"


def test_in_ci(ana):
    line = f"docker volume rm {ana.volume}"
    text = f"{pip_s_settings()}export CI=true; cd source && set -e\n{recipe('python3 -m venv .')}"
    ana.log_in(f"{text}\n{line}")
    kept = ana.log_in("ls ~/.local/share/safedocker/backups").stdout
    assert kept.count("2") >= 1
    assert ana.volume not in ana.machine.engine.run("docker", "volume", "ls", "-q").stdout
