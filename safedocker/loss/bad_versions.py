"""Versions of Docker and Compose that lose data by a fault of their own, as a table. Pure."""

from __future__ import annotations

import enum
from typing import NamedTuple

Version = tuple[int, ...]
Span = tuple[Version, Version]  # from this version on, up to but without that one

NEVER = (10_000,)  # no release has the fix yet


class Tool(enum.Enum):
    """Whose version it is."""

    DOCKER = "docker"
    COMPOSE = "compose"
    ENGINE = "engine"


class BadVersion(NamedTuple):
    """One fault, and the versions that have it."""

    tool: Tool
    spans: tuple[Span, ...]
    what: str
    source: str

    def fixed(self, version: Version) -> str | None:
        """The release to go to from this version, "" while there is none; None: it is well."""
        for first, fixed in self.spans:
            if first <= version < fixed:
                return "" if fixed == NEVER else ".".join(map(str, fixed))
        return None


BAD_VERSIONS = (
    BadVersion(
        Tool.COMPOSE,
        (((2, 0, 0), (2, 3, 0)),),
        "down -v deletes every volume labelled with the project, those of other files too",
        "docker/compose#8895",
    ),
    BadVersion(
        Tool.COMPOSE,
        (((2, 3, 0), (2, 3, 4)),),
        "down -v with a file deletes external volumes",
        "docker/compose#9172, #9313",
    ),
    BadVersion(
        Tool.COMPOSE,
        (((2, 4, 0), (2, 5, 0)),),
        "a project name in upper case is lower-cased by up and not found by the others",
        "docker/compose#9378",
    ),
    BadVersion(
        Tool.COMPOSE,
        (((2, 0, 0), (2, 23, 2)),),
        "--remove-orphans removes the containers of services whose profile is off",
        "docker/compose PR 11204",
    ),
    BadVersion(
        Tool.COMPOSE,
        (((2, 23, 0), (2, 23, 2)),),
        "down --remove-orphans SERVICE takes all services down",
        "docker/compose#11203",
    ),
    BadVersion(
        Tool.COMPOSE,
        (((2, 19, 0), (2, 29, 0)),),
        "down -v SERVICE tries every volume of the project",
        "docker/compose pkg/compose/down.go, 2.26.1 against 2.29.0",
    ),
    BadVersion(
        Tool.COMPOSE,
        (((2, 19, 0), (2, 30, 0)),),
        "-p NAME down -v with a service it does not know destroys the whole project",
        "docker/compose abcc91e2b",
    ),
    BadVersion(
        Tool.COMPOSE,
        (((2, 29, 3), (2, 29, 7)),),
        "missing bind sources are refused by engines that can't make them for a mount",
        "docker/compose f9c7a0cc0, 9c60fe67d",
    ),
    BadVersion(
        Tool.COMPOSE,
        (((2, 32, 0), (2, 32, 1)),),
        "every up recreates services with a bind mount: what they wrote outside volumes is lost",
        "docker/compose#12383",
    ),
    BadVersion(
        Tool.COMPOSE,
        (((2, 32, 0), (2, 32, 2)),),
        "every up recreates services with an anonymous volume",
        "docker/compose#12404",
    ),
    BadVersion(
        Tool.COMPOSE,
        (((2, 29, 0), (5, 5, 0)),),
        "watch with --prune (the default since 2.35) deletes all dangling images of the project",
        "docker/compose 5573bd260",
    ),
    BadVersion(
        Tool.COMPOSE,
        (((2, 34, 0), (2, 40, 2)),),
        "a hostile oci:// file writes any path on this machine, even on config or ps",
        "CVE-2025-62725",
    ),
    BadVersion(
        Tool.DOCKER,
        (((28, 1, 0), (29, 0, 0)),),
        "labels in config.json's pruneFilters are ignored: what they should spare is pruned",
        "docker/cli d97f65c4da, f81816ef88",
    ),
    BadVersion(
        Tool.DOCKER,
        (((29, 0, 0), NEVER),),
        "volume prune asks about anonymous volumes where an API below 1.42 takes named ones too",
        "docker/cli cli/command/volume/prune.go",
    ),
    BadVersion(
        Tool.ENGINE,
        (((0,), (20, 10, 19)),),
        "with live-restore, volumes in use can be removed or pruned after the engine restarts",
        "moby#37706, #41686",
    ),
    BadVersion(
        Tool.ENGINE,
        (((20, 10, 0), (23, 0, 7)), ((24, 0, 0), (24, 0, 6))),
        "with live-restore, local volumes on a device are unmounted when the engine restarts, and "
        "new containers write beside them",
        "moby PR 46253, 46366, 46367",
    ),
    BadVersion(
        Tool.ENGINE,
        (((0,), (24, 0, 8)),),
        "with live-restore, a restart of the engine removes running --rm containers",
        "moby c5ea3d595c",
    ),
    BadVersion(
        Tool.ENGINE,
        (((0,), (23, 0, 12)), ((24, 0, 0), (25, 0, 4))),
        "a bind source that a client asks it to make for a mount is refused",
        "moby a72294a668, 18e21f82a9",
    ),
    BadVersion(
        Tool.ENGINE,
        (((23, 0, 0), (25, 0, 8)), ((26, 0, 0), (27, 4, 0))),
        "anonymous volumes of --mount and of Compose carry no label, so volume prune spares them",
        "moby 10d57fde44",
    ),
    BadVersion(
        Tool.ENGINE,
        (((0,), (25, 0, 17)), ((26, 0, 0), (29, 5, 1))),
        "docker cp into a hostile running container can overwrite files of this machine",
        "CVE-2026-41568, CVE-2026-42306",
    ),
    BadVersion(
        Tool.ENGINE,
        (((29, 5, 1), (29, 5, 2)),),
        "docker cp fails where a mount's target is a symbolic link",
        "moby#52653",
    ),
    BadVersion(
        Tool.ENGINE,
        (((0,), NEVER),),
        "of several label!= filters a prune heeds only all together: what has one of them goes",
        "docker/cli#6918",
    ),
    BadVersion(
        Tool.ENGINE,
        (((0,), NEVER),),
        "docker cp from a hostile container can write outside the folder that it is told",
        "moby#52948",
    ),
)


def bad_versions(tool: Tool, version: Version) -> tuple[BadVersion, ...]:
    """Return the rows that hold for a version, in the table's order."""
    rows = (row for row in BAD_VERSIONS if row.tool is tool)
    return tuple(row for row in rows if row.fixed(version) is not None)
