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
    )
    (tree / "etc/group").write_text("root:x:0:\npostgres:x:999:\n")


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
    as_postgres initdb -D "$PGDATA" --auth=trust --encoding=UTF8 --locale=C >/dev/null
    echo "host all all all trust" >>"$PGDATA/pg_hba.conf"
fi
exec setpriv --reuid=postgres --regid=postgres --init-groups "$@"
"""


def fill_postgres(tree: Path) -> None:
    """PostgreSQL 15 with its client, dash and util-linux, and busybox for the rest."""
    options = update_suite("bookworm")
    wanted = ("postgresql-15", "dash", "util-linux", "busybox-static", "tzdata")
    plan = call(
        "apt-get", *options, "-y", "--no-install-recommends", "--print-uris", "install", *wanted
    )
    closure = re.findall(r"^'\S+' ([^_\s]+)_\S+\.deb ", plan, re.MULTILINE)
    kept = [name for name in closure if not POSTGRES_LEAVES_OUT.match(name)]
    debs = tree.with_name("debs")
    unpack(download("bookworm", kept, debs), tree)
    discard(debs)
    server = tree / "usr/lib/postgresql/15/lib"
    for surplus in (server / "bitcode", *server.glob("llvmjit*")):
        discard(surplus)
    furnish(tree)
    for folder in ("var/lib/postgresql/data", "run/postgresql"):
        (tree / folder).mkdir(parents=True, exist_ok=True)
        os.chown(tree / folder, 999, 999)
    discard(tree / "var/run")
    (tree / "var/run").symlink_to("/run")
    entry = tree / "usr/bin/docker-entrypoint.sh"
    entry.write_text(POSTGRES_ENTRY)
    entry.chmod(0o755)
    call("ldconfig", "-r", tree)


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
}
