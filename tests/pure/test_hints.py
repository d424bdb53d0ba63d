"""What there is to say of a container before it is made: each row, told and not told."""

from __future__ import annotations

import pytest

from safedocker.command.parse import parse
from safedocker.edge import model
from safedocker.loss import hints
from safedocker.loss.hints import Image, Mounted, Source, Start

OLD = Image("", frozenset({"/var/lib/postgresql/data"}), {"PGDATA": "/var/lib/postgresql/data"})
NEW = Image("", frozenset({"/var/lib/postgresql"}), {"PGDATA": "/var/lib/postgresql/18/docker"})
PLAIN = Image()
HERE = Source(1000, 1000, 0o755)


def start(line: str, config: Image = PLAIN, left=(), desktop=False, **sources: Source) -> Start:
    (command, *_) = parse("docker", line.split())
    return Start(
        command.operands[0],
        config,
        hints.mounted(command, "/home/me/shop"),
        command.value("name") or "",
        command.value("user") or "",
        hints.bytes_of(command.value("memory") or ""),
        hints.environ(command.values("env")),
        {f"/{name}": source for name, source in sources.items()},
        desktop,
        left,
    )


def names(told: Start) -> list[str]:
    return [hint.name for hint in hints.hints(told)]


@pytest.mark.parametrize(
    ("line", "config", "told"),
    [
        ("run postgres", OLD, ["no-volume"]),
        ("run postgres:15", Image(), ["no-volume"]),
        ("run -v pgdata:/var/lib/postgresql/data postgres", OLD, []),
        ("run --mount source=pgdata,target=/var/lib/postgresql/data postgres", OLD, []),
        ("run -v /var/lib/postgresql/data postgres", OLD, ["no-volume"]),
        # S11: the image's own volume lies below, and hides the one that was named
        ("run -v pgdata:/var/lib/postgresql postgres", OLD, ["volume-beside"]),
        ("run -v pgdata:/var/lib/postgresql/data -e PGDATA=/pg postgres", OLD, ["volume-beside"]),
        ("run -v pg:/pg -e PGDATA=/pg/data postgres", OLD, []),
        # 18 keeps its data elsewhere
        ("run -v pgdata:/var/lib/postgresql/data postgres:18", NEW, ["volume-beside"]),
        ("run -v pgdata:/var/lib/postgresql postgres:18", NEW, []),
        ("run -v /srv/pg:/var/lib/postgresql/data postgres", OLD, ["bind-over-database"]),
        ("run --tmpfs /var/lib/postgresql/data postgres", OLD, []),
        ("run -v sql:/var/lib/mysql mariadb", Image(), []),
        ("run mysql", Image(), ["no-volume"]),
        ("run my.registry:5000/team/redis@sha256:0", Image(), ["no-volume"]),
        ("run nginx", Image(), []),
        ("run -v x:/data nginx", Image(), []),
    ],
)
def test_s11_v7_a_database_and_where_its_data_go(line, config, told):
    assert names(start(line, config)) == told


def test_s11_the_place_to_mount_it_is_named():
    (hint,) = hints.hints(start("run -v pgdata:/var/lib/postgresql postgres", OLD))
    assert "-v pgdata:/var/lib/postgresql/data" in hint.told


@pytest.mark.parametrize(
    ("line", "user", "source", "told"),
    [
        ("run -v /src:/app app", "65534", HERE, ["owner"]),
        ("run -v /src:/app:ro app", "65534", HERE, []),
        ("run -v /src:/app:ro app", "65534", HERE._replace(mode=0o750), ["owner"]),
        ("run -v /src:/app app", "1000", HERE, []),
        ("run -v /src:/app app", "65534", HERE._replace(mode=0o777), []),
        ("run -v /src:/app app", "65534:1000", HERE._replace(mode=0o775), []),
        ("run -v /src:/app app", "0", HERE, []),
        ("run -v /src:/app app", "", HERE, []),
        ("run -v /src:/app app", "nobody", HERE, []),  # only its own /etc/passwd knows who
        ("run --user 5 -v /src:/app app", "1000", HERE, ["owner"]),
        ("run --user 1000 -v /src:/app app", "65534", HERE, []),
    ],
)
def test_v6_whether_the_images_user_may_write_there(line, user, source, told):
    assert names(start(line, Image(user), src=source)) == told


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("run -m 1g --tmpfs /t:size=2g app", ["tmpfs-over-memory"]),
        ("run -m 1g --mount type=tmpfs,dst=/t,tmpfs-size=2147483648 app", ["tmpfs-over-memory"]),
        ("run -m 2g --tmpfs /t:rw,size=1g app", []),
        ("run --tmpfs /t:size=2g app", []),
        ("run -m 1g --tmpfs /t app", []),
    ],
)
def test_v13_a_tmpfs_that_may_outgrow_the_memory(line, told):
    assert names(start(line)) == told


def test_v14_what_is_slow_is_told_where_docker_desktop_runs():
    source = HERE._replace(heavy=("node_modules",))
    line = "run -v /src:/app node"
    assert names(start(line, desktop=True, src=source)) == ["slow-mount"]
    assert names(start(line, src=source)) == []
    assert names(start(f"{line[:4]}-v deps:/app/node_modules {line[4:]}", desktop=True)) == []


def test_v8_what_an_earlier_container_of_the_name_left_comes_first():
    told = start("run --name pg postgres", OLD, left=("0123", "4567"))
    first, second = hints.hints(told)
    assert (first.name, second.name) == ("left-behind", "no-volume")
    assert "-v 4567:/var/lib/postgresql/data" in first.told


@pytest.mark.parametrize(
    ("size", "told"),
    [("2g", 2 << 30), ("512M", 512 << 20), ("1.5kb", 1536), ("7", 7), ("", None), ("50%", None)],
)
def test_sizes_are_dockers(size, told):
    assert hints.bytes_of(size) == told


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("run -v ./x:/app app", Mounted("bind", "/home/me/shop/x", "/app")),
        ("run -v /anon app", Mounted("volume", "", "/anon")),
        ("run -v name:/app:ro app", Mounted("volume", "name", "/app", True)),
        ("run --mount type=bind,src=/x,dst=/app,ro app", Mounted("bind", "/x", "/app", True)),
    ],
)
def test_mounts_are_read(line, told):
    assert start(line).mounted == (told,)


SHOP = hints.Project("shop", {"shop_db": "shop", "fixedname": "other"}, ())


def test_a_volume_of_another_project_is_told_with_what_down_would_do():
    (hint,) = hints.hints_of_project(SHOP)
    assert (hint.name, hint.subject) == ("others-volume", "fixedname")
    assert "project other's" in hint.told
    assert "external: true" in hint.told


def test_a_projects_name_that_another_folder_uses_is_told_once_for_each_folder():
    told = hints.hints_of_project(SHOP._replace(volumes={}, folders=("/srv/shop", "/old/shop")))
    assert [hint.name for hint in told] == ["name-taken", "name-taken"]
    assert len({hint.subject for hint in told}) == 2
    assert hints.hints_of_project(SHOP._replace(volumes={"shop_db": "shop"})) == []


@pytest.mark.parametrize(
    ("info", "told"),
    [
        ({"OperatingSystem": "Docker Desktop"}, True),
        ({"OperatingSystem": "Debian GNU/Linux 12 (bookworm)"}, False),
        ({}, False),
        (None, False),
    ],
)
def test_v14_docker_desktop_is_known_by_what_the_engine_calls_its_system(info, told):
    assert hints.is_desktop(info) is told


def test_of_a_service_a_hint_says_what_to_write_into_the_file():
    container = start("run postgres", OLD)._replace(service="db")
    (hint,) = hints.hints(container)
    assert hint.subject == "db"
    assert 'volumes: ["NAME:/var/lib/postgresql/data"] of db' in hint.told
    assert "-v" not in hint.told


SERVICES = {
    "db": {
        "image": "postgres:15",
        "environment": {"PGDATA": "/pg", "EMPTY": None},
        "volumes": [{"type": "volume", "source": "data", "target": "/pg"}],
        "deploy": {"resources": {"limits": {"memory": "67108864"}}},
        "tmpfs": "/run:size=1g",
    },
    "app": {
        "image": "app",
        "user": "1000",
        "container_name": "mine",
        "mem_limit": "1g",
        "volumes": ["/src:/app:ro", "/anon"],
        "tmpfs": ["/t"],
    },
}


@pytest.mark.parametrize(
    ("version", "name", "memory"),
    [((1, 29), "shop_db_1", ""), ((2, 40), "shop-db-1", "67108864")],
)
def test_services_are_read_as_each_compose_prints_them(version, name, memory):
    db, app = model.services(SERVICES, "shop", version)
    assert (db.container, db.memory, db.environ) == (name, memory, {"PGDATA": "/pg"})
    assert (app.container, app.memory, app.user) == ("mine", "1g", "1000")
    assert hints.mounted_by(db, {"data": "shop_data"}) == (
        Mounted("volume", "shop_data", "/pg"),
        Mounted("tmpfs", "", "/run", size=1 << 30),
    )
    assert hints.mounted_by(app, {}) == (
        Mounted("bind", "/src", "/app", True),
        Mounted("volume", "", "/anon"),
        Mounted("tmpfs", "", "/t"),
    )


def test_every_hint_has_a_name_that_can_be_switched_off():
    assert len(set(hints.NAMES)) == len(hints.NAMES)
    assert {"name-taken", "owner", "volume-beside", "slow-mount"} <= set(hints.NAMES)
