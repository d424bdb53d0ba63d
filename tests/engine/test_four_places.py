"""The tutorial's mistakes with volumes and mounts, as people make them: through the shim, before
both engines and both Composes. Its V8 is test_rescue.py's, V15 test_storage.py's, V3, V5 and S24
test_host_paths.py's, V6, V7 and V13 test_hints.py's; V14 needs Docker Desktop, and is a unit test.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.conftest import Shell

COMPOSE = """
services:
  web:
    image: busybox
    network_mode: none
    volumes: ["./confg:/etc/app", "./here:/here"]
  other: {image: busybox, network_mode: none, command: "true"}
version: "2.4"
"""
BESIDE = """
services:
  db:
    image: postgres
    init: true
    stop_grace_period: 0s
    network_mode: none
    command: sh -c 'mkdir -p $$D/global && echo 15 >$$D/PG_VERSION && sleep 1000'
    environment: {D: /var/lib/postgresql/data}
    volumes: ["pg:/var/lib/postgresql"]
volumes:
  pg: {}
version: "2.4"
"""


@pytest.fixture
def folder(shell: Shell) -> Path:
    made = shell.home / "shop"
    for name in ("config", "here"):
        (made / name).mkdir(parents=True)
    (made / "docker-compose.yml").write_text(COMPOSE)
    return made


def flat(text: str) -> str:
    return " ".join(text.split())


def test_v4_a_typing_error_in_a_bind_source_of_a_file_is_asked_about_with_its_service(
    shell: Shell, folder: Path
) -> None:
    up = f"{shell.compose} up -d"
    refused = shell.run(up, cwd=folder)
    assert (refused.returncode, shell.ask("/containers/json")) == (77, [])
    told = flat(refused.stderr)
    for word in (f"{folder}/confg", "web mounts it at /etc/app", "did you mean ./config?"):
        assert word in told, told
    assert "/here" not in told
    assert shell.run(f"{up} other", cwd=folder).returncode == 0, "that service mounts nothing"
    screen = shell.terminal(f"{shell.compose} run --rm web true", cwd=folder)
    screen.asked().type("1\r")
    assert screen.ended() == 0, screen.text
    assert "Create the folder now, as me" in screen.text
    assert (folder / "confg").is_dir()
    assert shell.run(up, cwd=folder).returncode == 0


def test_v11_the_preview_of_rm_v_says_which_volume_goes_and_which_stays(shell: Shell) -> None:
    script = "echo x >/named/f; echo x >/anon/f"
    shell.out(f"docker run --name box -v keep:/named -v /anon busybox sh -c '{script}'")
    (anonymous,) = shell.volumes() - {"keep"}
    screen = shell.terminal("docker rm -v box").asked().type("\x04")
    assert screen.ended() == 77
    told = flat(screen.text)
    assert "anonymous volume of box at /anon" in told
    assert "stays: keep (a named volume of box: -v takes anonymous ones only)" in told
    assert shell.volumes() == {"keep", anonymous}
    shell.run("docker rm -v box", check=True, SAFEDOCKER_MODE="backup")
    assert shell.volumes() == {"keep"}


def test_v12_of_an_nfs_volume_only_the_reference_goes_and_that_is_said(shell: Shell) -> None:
    options = "--opt type=nfs --opt o=addr=10.0.0.9,ro --opt device=:/export"
    shell.out(f"docker volume create {options} share")
    defined = shell.definition("share")
    told = flat(shell.run("safedocker explain -- docker volume rm share", check=True).stdout)
    assert "only a reference goes: the data lies elsewhere" in told
    refused = shell.run("docker volume rm share", SAFEDOCKER_MODE="deny")
    assert "the data at nfs 10.0.0.9:/export stays" in flat(refused.stderr), refused.stderr
    done = shell.run("docker volume rm share", check=True)
    assert (done.stdout, done.stderr) == ("share\n", "")
    shell.run("safedocker undo", check=True)
    assert shell.definition("share") == defined


def test_s11_data_in_an_anonymous_volume_beside_an_empty_named_one_is_told_before_it_goes(
    shell: Shell, folder: Path
) -> None:
    volume = "VOLUME /var/lib/postgresql/data"
    shell.out(f"docker commit --change '{volume}' $(docker create busybox) postgres")
    (folder / "docker-compose.yml").write_text(BESIDE)
    try:
        shell.out(f"{shell.compose} up -d", cwd=folder)
        (anonymous,) = shell.volumes() - {"shop_pg"}
        place = shell.place(anonymous)
        shell.out(f"while ! test -e {place}/PG_VERSION; do sleep 0.1; done")
        sentence = (
            f"the data (PostgreSQL 15) is in the anonymous volume {anonymous[:12]}… at "
            "/var/lib/postgresql/data; the named shop_pg holds no data"
        )
        asked = shell.terminal(f"{shell.compose} down -v", cwd=folder).asked().type("\x04")
        assert asked.ended() == 77
        assert f"but: {sentence}" in flat(asked.text)
        left = shell.terminal(f"{shell.compose} down", cwd=folder)
        assert left.ended() == 0
        assert sentence in flat(left.text)
        assert "`safedocker rescue` finds it again" in flat(left.text)
        assert anonymous in shell.volumes()
    finally:
        shell.out(f"{shell.compose} down; docker rmi -f postgres", cwd=folder)
