"""Several people on one engine: other people's data is named, and is not theirs to delete."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.engine.machine import Machine, shared
from tests.engines import PrivateEngine

SHOP = """\
services:
  web:
    image: busybox
    command: sleep 999
    network_mode: none
    volumes: [db:/db]
volumes: {db: {}}
"""


@pytest.fixture
def machine(engine26: PrivateEngine) -> Iterator[Machine]:
    with shared(engine26) as one:
        yield one


def test_v10_s2_a_prune_names_the_other_peoples_data_and_is_refused(machine: Machine) -> None:
    place = machine.project("anna", "shop", SHOP)
    machine.run("anna", "docker compose up -d", check=True, cwd=place)
    machine.run(
        "anna", "docker compose exec -T web sh -c 'echo x > /db/rows'", check=True, cwd=place
    )
    machine.run("anna", "docker volume create attic", check=True)
    machine.run("anna", "docker run --rm -v attic:/a busybox sh -c 'echo x > /a/f'", check=True)
    machine.run("bob", "docker run --rm -v mine:/a busybox sh -c 'echo x > /a/f'", check=True)
    machine.run("anna", "docker compose stop -t 0", check=True, cwd=place)
    done = machine.run("bob", "docker system prune -af --volumes")
    assert (done.returncode, machine.volumes()) == (77, {"shop_db", "attic", "mine"}), done.stderr
    assert done.stderr == "x"
