"""`safedocker doctor` before the real clients and engines: nothing of theirs is new to us."""

import json
import sys
from pathlib import Path

import pytest

from safedocker.command.parse import Clients
from safedocker.doctor.clients import drift_of
from tests.engine.test_parse_differential import version_of

ROOT = Path(__file__).resolve().parents[2]


def test_help_of_docker_is_what_we_know(docker_clients):
    for binary in docker_clients.values():
        clients = Clients(docker=version_of(binary))
        assert list(drift_of(str(binary), "docker", (), clients)) == []


def test_help_of_compose_is_what_we_know(compose_clients):
    for binary in compose_clients.values():
        clients = Clients(compose=version_of(binary))
        assert list(drift_of(str(binary), "docker-compose", (), clients)) == []


@pytest.mark.parametrize("version", ["20", "26"])
def test_doctor_tells_what_a_prune_takes_on_this_engine(start_engine, version):
    engine = start_engine(version)
    done = engine.run(
        *(sys.executable, "-m", "safedocker", "doctor", "--json"),
        environ={"PYTHONPATH": str(ROOT)},
        check=False,
    )
    told = json.loads(done.stdout)
    about_clients = [
        one for one in told["findings"] if one["kind"] in {"client", "engine", "drift"}
    ]
    assert about_clients == []
    assert done.returncode == (1 if told["findings"] else 0)
    assert told["engine"]["version"].startswith(version)
    takes = told["engine"]["volume_prune"]
    assert ("named ones too" in takes) == (version == "20")
    names = ["docker", "docker-compose"] if version == "20" else ["docker", "docker compose"]
    assert [one["name"] for one in told["clients"]][: len(names)] == names
