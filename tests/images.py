"""Images without a registry: trees out of Debian's packages, as archives for `docker load`."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from tests.debian import cache, call, discard, download, suite_tree, unpack, update_suite, whole


class Image(NamedTuple):
    """How an image's root file system is built, and what a Dockerfile would say of it."""

    fill: Callable[[Path], None]
    config: Mapping[str, object]


def image_path(name: str) -> Path:
    """The archive that `docker load` takes; the name changes with the recipe."""
    recipe = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]
    return cache() / "images" / f"{name.replace(':', '-')}-{recipe}.tar"


def build_image(name: str) -> None:
    """Write an image's archive, unless it is there.

    Not `docker import`: that of 20.10 takes no STOPSIGNAL.
    """
    target = image_path(name)
    if target.exists():
        return
    with whole(target) as draft:
        folder = draft.with_suffix(".tree")
        discard(folder)
        tree, layer = folder / "tree", folder / "layer.tar"
        tree.mkdir(parents=True)
        IMAGES[name].fill(tree)
        call("tar", "-c", "--numeric-owner", "-f", layer, "-C", tree, ".")
        with layer.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        call("gzip", "-1", layer)
        config = {
            "architecture": call("dpkg", "--print-architecture").strip(),
            "os": "linux",
            "created": datetime.now(UTC).isoformat(),
            "config": IMAGES[name].config,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
            "history": [{"created_by": "safedocker tests"}],
        }
        manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar.gz"]}]
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "manifest.json").write_text(json.dumps(manifest))
        members = ("manifest.json", "config.json", "layer.tar.gz")
        call("tar", "-c", "-f", draft, "-C", folder, *members)
        discard(folder)


def fill_busybox(tree: Path) -> None:
    """One program and its names."""
    for folder in ("bin", "etc", "root", "tmp"):
        (tree / folder).mkdir()
    shutil.copy(suite_tree("20") / "bin/busybox", tree / "bin/busybox")
    furnish(tree)


def furnish(tree: Path) -> None:
    """Give a tree what packages' own scripts would have: accounts, folders, busybox's names."""
    here = tree / "bin"
    for applet in call(here / "busybox", "--list").split():
        if not os.path.lexists(here / applet) and not os.path.lexists(tree / "sbin" / applet):
            (here / applet).symlink_to("busybox")
    for folder in ("root", "proc", "sys", "dev", "tmp"):
        (tree / folder).mkdir(exist_ok=True)
    (tree / "tmp").chmod(0o1777)
    (tree / "etc/passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\npostgres:x:999:999::/var/lib/postgresql:/bin/sh\n"
        "mysql:x:998:998::/var/lib/mysql:/bin/sh\n"
    )
    (tree / "etc/group").write_text("root:x:0:\npostgres:x:999:\nmysql:x:998:\n")


# A third of the packages is for just-in-time compilation and Perl; server and psql need neither.
POSTGRES_LEAVES_OUT = re.compile(
    r"libllvm|libz3|libperl|perl|locales|libc-l10n|.*-perl|dpkg|debconf|openssl|tar|usrmerge"
)

POSTGRES_ENTRY = """#!/bin/sh
# A new data folder gets a cluster. Then this process becomes the database, to get its signals.
set -eu
[ "${1:-}" = postgres ] || exec "$@"
as_postgres() { setpriv --reuid=postgres --regid=postgres --init-groups "$@"; }
mkdir -p "$PGDATA"
chown postgres:postgres "$PGDATA"
chmod 700 "$PGDATA"
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    password=${POSTGRES_PASSWORD:-$(cat "${POSTGRES_PASSWORD_FILE:-/dev/null}")}
    method=${password:+scram-sha-256}
    echo "$password" >/run/first
    chmod 644 /run/first
    as_postgres initdb -D "$PGDATA" --auth="${method:-trust}" ${password:+--pwfile=/run/first} \
        --username="${POSTGRES_USER:-postgres}" --encoding=UTF8 --locale=C >/dev/null
    rm /run/first
    echo "host all all all ${method:-trust}" >>"$PGDATA/pg_hba.conf"
fi
exec setpriv --reuid=postgres --regid=postgres --init-groups "$@"
"""


def unpack_bookworm(tree: Path, wanted: tuple[str, ...], leaves_out: re.Pattern[str]) -> None:
    """Packages of Debian 12 and what they depend on, with busybox, without what is not needed."""
    options = update_suite("bookworm")
    base = ("dash", "util-linux", "busybox-static", "tzdata")
    plan = call(
        *("apt-get", *options, "-y", "--no-install-recommends", "--print-uris", "install"),
        *(*wanted, *base),
    )
    closure = re.findall(r"^'\S+' ([^_\s]+)_\S+\.deb ", plan, re.MULTILINE)
    kept = [name for name in closure if not leaves_out.match(name)]
    debs = tree.with_name("debs")
    unpack(download("bookworm", kept, debs), tree)
    discard(debs)


def write_entry(tree: Path, text: str) -> None:
    entry = tree / "usr/bin/docker-entrypoint.sh"
    entry.write_text(text)
    entry.chmod(0o755)
    call("ldconfig", "-r", tree)


def fill_postgres(tree: Path) -> None:
    """PostgreSQL 15 with its client, dash and util-linux, and busybox for the rest."""
    unpack_bookworm(tree, ("postgresql-15",), POSTGRES_LEAVES_OUT)
    server = tree / "usr/lib/postgresql/15/lib"
    for surplus in (server / "bitcode", *server.glob("llvmjit*")):
        discard(surplus)
    furnish(tree)
    for folder in ("var/lib/postgresql/data", "run/postgresql"):
        (tree / folder).mkdir(parents=True, exist_ok=True)
        os.chown(tree / folder, 999, 999)
    discard(tree / "var/run")
    (tree / "var/run").symlink_to("/run")
    write_entry(tree, POSTGRES_ENTRY)


MARIADB_LEAVES_OUT = re.compile(
    r"libperl|perl|lib.*-perl|dpkg|debconf|openssl|tar|usrmerge|galera|rsync|socat|lsof|passwd|"
    r"adduser|psmisc|libicu|procps|gawk|iproute2|init-system-helpers"
)

MARIADB_ENTRY = """#!/bin/sh
# A new data folder gets its system tables and root's password. Then this becomes the database.
set -eu
[ "${1:-}" = mariadbd ] || exec "$@"
mkdir -p /var/lib/mysql /run/mysqld
chown mysql:mysql /var/lib/mysql /run/mysqld
if [ ! -d /var/lib/mysql/mysql ]; then
    mariadb-install-db --user=mysql --skip-test-db --auth-root-authentication-method=normal \\
        >/dev/null
    password=${MARIADB_ROOT_PASSWORD:-$(cat "${MARIADB_ROOT_PASSWORD_FILE:-/dev/null}")}
    if [ -n "$password" ]; then
        quoted=$(printf %s "$password" | sed "s/'/''/g")
        mariadbd --user=mysql --bootstrap <<EOF
FLUSH PRIVILEGES;
ALTER USER root@localhost IDENTIFIED BY '$quoted';
EOF
    fi
fi
exec "$@" --user=mysql
"""


def fill_mariadb(tree: Path) -> None:
    """MariaDB 10.11 with its client."""
    unpack_bookworm(tree, ("mariadb-server-core", "mariadb-client"), MARIADB_LEAVES_OUT)
    furnish(tree)
    for folder in ("var/lib/mysql", "run/mysqld"):
        (tree / folder).mkdir(parents=True, exist_ok=True)
        os.chown(tree / folder, 998, 998)
    discard(tree / "var/run")
    (tree / "var/run").symlink_to("/run")
    write_entry(tree, MARIADB_ENTRY)


def fill_redis(tree: Path) -> None:
    """Redis 7 with its client and its checking program."""
    unpack_bookworm(tree, ("redis-server",), POSTGRES_LEAVES_OUT)
    furnish(tree)
    (tree / "data").mkdir(exist_ok=True)
    write_entry(tree, '#!/bin/sh\ncd /data\nexec "$@"\n')


IMAGES = {
    "busybox:latest": Image(fill_busybox, {"Cmd": ["sh"]}),
    "busybox-volume:latest": Image(fill_busybox, {"Cmd": ["sh"], "Volumes": {"/data": {}}}),
    "postgres:15": Image(
        fill_postgres,
        {
            "Env": [
                "PATH=/usr/lib/postgresql/15/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "PGDATA=/var/lib/postgresql/data",
                "PG_MAJOR=15",
            ],
            "Volumes": {"/var/lib/postgresql/data": {}},
            "ExposedPorts": {"5432/tcp": {}},
            "StopSignal": "SIGINT",
            "Entrypoint": ["docker-entrypoint.sh"],
            "Cmd": ["postgres", "-c", "listen_addresses=*"],
        },
    ),
    "mariadb:10.11": Image(
        fill_mariadb,
        {
            "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
            "Volumes": {"/var/lib/mysql": {}},
            "ExposedPorts": {"3306/tcp": {}},
            "Entrypoint": ["docker-entrypoint.sh"],
            "Cmd": ["mariadbd"],
        },
    ),
    "redis:7": Image(
        fill_redis,
        {
            "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
            "Volumes": {"/data": {}},
            "ExposedPorts": {"6379/tcp": {}},
            "WorkingDir": "/data",
            "Entrypoint": ["docker-entrypoint.sh"],
            "Cmd": ["redis-server", "--protected-mode", "no"],
        },
    ),
}
