"""The dangerous forms: which commands can lose data, as a table. Matching is decided here; what an
engine in a given state would really lose is reach.py's."""

from __future__ import annotations

import enum

from safedocker.command.parse import Command
from safedocker.command.record import TYPE_CHECKING, NamedTuple
from safedocker.loss import operands

if TYPE_CHECKING:
    from collections.abc import Callable


class Reach(enum.Enum):
    """What a form takes, named by how the engine or Compose chooses it."""

    NAMED = "what the operands address, and under -v the containers' anonymous volumes"
    UNUSED_VOLUMES = "volumes that no container refers to"
    UNUSED_VOLUMES_AFTER_CONTAINERS = "the same, once the stopped containers are gone"
    PROJECT_VOLUMES = "a Compose project's volumes, and its containers' anonymous ones"
    ANONYMOUS_OF_PROJECT = "anonymous volumes of a Compose project's stopped containers"

    @property
    def of_compose(self) -> bool:
        """Does Compose, not the docker client, choose what goes?"""
        return self in {Reach.PROJECT_VOLUMES, Reach.ANONYMOUS_OF_PROJECT}

    @property
    def prunes(self) -> bool:
        """Does the API version change what goes?"""
        return self in {Reach.UNUSED_VOLUMES, Reach.UNUSED_VOLUMES_AFTER_CONTAINERS}


class Form(NamedTuple):
    """One dangerous form. `when` narrows the path by its flags; `asks` is the flag without which
    the real client asks for itself before it removes anything ("" when it never does)."""

    name: str
    path: tuple[str, ...]
    when: Callable[[Command], bool]
    reach: Reach
    sentence: str
    asks: str
    source: str


def _volumes(command: Command) -> bool:
    return command.on("volumes")


def _volumes_not_links(command: Command) -> bool:
    return command.on("volumes") and not command.on("link")


def _volumes_for_real(command: Command) -> bool:
    return command.on("volumes") and not _dry_run(command)


def _always(_command: Command) -> bool:
    return True


def _wanders(command: Command) -> bool:
    return operands.wanders(command)


def _dry_run(command: Command) -> bool:
    return command.on("dry-run")


FORMS = (
    Form(
        "volume-rm",
        ("volume", "rm"),
        _always,
        Reach.NAMED,
        "removes the volumes named, whatever they hold",
        "",
        "moby volume/service/service.go Remove",
    ),
    Form(
        "volume-prune",
        ("volume", "prune"),
        _always,
        Reach.UNUSED_VOLUMES,
        "removes every unused volume that its filters and the API version allow",
        "force",
        "moby volume/service/service.go Prune",
    ),
    Form(
        "system-prune-volumes",
        ("system", "prune"),
        _volumes,
        Reach.UNUSED_VOLUMES_AFTER_CONTAINERS,
        "removes stopped containers first, then the volumes that are unused without them",
        "force",
        "docker/cli cli/command/system/prune.go",
    ),
    Form(
        "container-rm-volumes",
        ("container", "rm"),
        _volumes_not_links,
        Reach.NAMED,
        "removes the containers' anonymous volumes with them",
        "",
        "moby daemon/mounts.go removeMountPoints",
    ),
    Form(
        "compose-down-volumes",
        ("compose", "down"),
        _volumes_for_real,
        Reach.PROJECT_VOLUMES,
        "removes the project's volumes; -v stands for --volumes here, not for verbose",
        "",
        "docker/compose pkg/compose/down.go ensureVolumesDown",
    ),
    Form(
        "compose-rm-volumes",
        ("compose", "rm"),
        _volumes_for_real,
        Reach.ANONYMOUS_OF_PROJECT,
        "removes the anonymous volumes of the containers it removes",
        "force",
        "docker/compose pkg/compose/remove.go",
    ),
    *(
        Form(
            f"{path[0]}-rm-path",
            path,
            _wanders,
            Reach.NAMED,
            "removes what its operands address as paths: `../volumes/x` is the volume x",
            "",
            "moby client/client.go getAPIPath cleans the path",
        )
        for path in operands.COLLECTIONS
        if path != ("volume", "rm")
    ),
)


def match(command: Command) -> Form | None:
    """Given a parsed command, return the row it falls under, or None when it can lose nothing.

    A command that its client would refuse or answer with help loses nothing. A doubt about the
    flags on a row's path counts as that row.
    """
    if command.helps or command.error:
        return None
    for form in FORMS:
        if command.path == form.path and (form.when(command) or _doubtful(command, form)):
            return form
    return None


def _doubtful(command: Command, form: Form) -> bool:
    """Could an option that is new to us have switched the form on? No option makes a path."""
    return bool(command.doubts) and form.when is not _wanders and not _dry_run(command)
