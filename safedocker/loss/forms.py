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

    NAMED = "what the operands address, and what goes with it"
    UNUSED_VOLUMES = "volumes that no container refers to"
    STOPPED_CONTAINERS = "containers that do not run"
    STOPPED_CONTAINERS_THEN_VOLUMES = "the same, then volumes that are unused without them"
    ENDED_CONTAINERS = "containers started with --rm, which are removed when they end"
    HOST_PATHS = "host paths that the new container mounts and that are not there"
    HOST_PATHS_OF_CONTAINERS = "the same of containers that are started"
    OVERWRITTEN = "files that are copied over"
    PROJECT_DOWN = "a Compose project's containers, and under -v its volumes"
    PROJECT_RM = "a Compose project's stopped containers, and under -v their anonymous volumes"
    PROJECT_UP = "what Compose replaces or drops to reach the state in its files"
    PROJECT_ENDED = "a Compose project's containers that were started with --rm"
    SURPLUS_TASKS = "the tasks' containers that are left over, or past the history limit"
    STACKS = "what carries the stack's label"
    SWARM = "all that this manager knows, if it is the last one"
    CONTEXTS = "contexts of the client's configuration"
    IMAGES = "images"
    BUILD_CACHE = "build cache"

    @property
    def of_compose(self) -> bool:
        """Does Compose, not the docker client, choose what goes?"""
        return self in _OF_COMPOSE

    @property
    def prunes(self) -> bool:
        """Does the API version change what goes?"""
        return self in {Reach.UNUSED_VOLUMES, Reach.STOPPED_CONTAINERS_THEN_VOLUMES}

    @property
    def needs_engine(self) -> bool:
        """Does it hang on what an engine holds? One that is away must not stop it otherwise."""
        return self is not Reach.CONTEXTS

    @property
    def replaceable(self) -> bool:
        """Can all that goes be pulled or built again?"""
        return self in {Reach.IMAGES, Reach.BUILD_CACHE}


_OF_COMPOSE = frozenset(
    (Reach.PROJECT_DOWN, Reach.PROJECT_RM, Reach.PROJECT_UP, Reach.PROJECT_ENDED)
)


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


def _always(_command: Command) -> bool:
    return True


def _volumes(command: Command) -> bool:
    return command.on("volumes")


def _volumes_not_links(command: Command) -> bool:
    return command.on("volumes") and not command.on("link")


def _not_links(command: Command) -> bool:
    return not command.on("link")


def _wanders(command: Command) -> bool:
    return operands.wanders(command)


def _for_real(command: Command) -> bool:
    return not command.on("dry-run")


def _volumes_for_real(command: Command) -> bool:
    return command.on("volumes") and not command.on("dry-run")


def _downs_project(command: Command) -> bool:
    return command.on("down-project") and not command.on("dry-run")


def _mounts(command: Command) -> bool:
    return any(name in {"volume", "mount", "volumes-from"} for name, _ in command.flags)


# The first row that fits is the command's.
FORMS = (
    # volumes
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
        Reach.STOPPED_CONTAINERS_THEN_VOLUMES,
        "removes stopped containers first, then the volumes that are unused without them",
        "force",
        "docker/cli cli/command/system/prune.go",
    ),
    # containers
    Form(
        "system-prune",
        ("system", "prune"),
        _always,
        Reach.STOPPED_CONTAINERS,
        "removes stopped containers, unused networks and images, and build cache",
        "force",
        "docker/cli cli/command/system/prune.go",
    ),
    Form(
        "container-prune",
        ("container", "prune"),
        _always,
        Reach.STOPPED_CONTAINERS,
        "removes stopped containers with all that they wrote outside their volumes",
        "force",
        "moby daemon/prune.go ContainersPrune",
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
        "container-rm",
        ("container", "rm"),
        _not_links,
        Reach.NAMED,
        "removes the containers with all that they wrote outside their volumes",
        "",
        "moby daemon/delete.go cleanupContainer",
    ),
    *(
        Form(
            f"container-{verb}",
            ("container", verb),
            _always,
            Reach.ENDED_CONTAINERS,
            "ends the containers; one that was started with --rm is removed then",
            "",
            "moby daemon/monitor.go handleContainerExit, autoRemove",
        )
        for verb in ("stop", "kill")
    ),
    Form(
        "container-run",
        ("container", "run"),
        _mounts,
        Reach.HOST_PATHS,
        "starts a container; a host path that is not there is made, empty and root's",
        "",
        "moby volume/mounts/mounts.go Setup",
    ),
    *(
        Form(
            f"container-{verb}",
            ("container", verb),
            _always,
            Reach.HOST_PATHS_OF_CONTAINERS,
            "starts the containers; a host path that is not there is made, empty and root's",
            "",
            "moby volume/mounts/mounts.go Setup",
        )
        for verb in ("start", "restart")
    ),
    Form(
        "container-cp",
        ("container", "cp"),
        _always,
        Reach.OVERWRITTEN,
        "writes over files of the same name, without asking",
        "",
        "docker/cli cli/command/container/cp.go",
    ),
    # Compose
    Form(
        "compose-down-volumes",
        ("compose", "down"),
        _volumes_for_real,
        Reach.PROJECT_DOWN,
        "removes the project's volumes; -v stands for --volumes here, not for verbose",
        "",
        "docker/compose pkg/compose/down.go ensureVolumesDown",
    ),
    Form(
        "compose-down",
        ("compose", "down"),
        _for_real,
        Reach.PROJECT_DOWN,
        "removes the project's containers with all that they wrote outside their volumes",
        "",
        "docker/compose pkg/compose/down.go",
    ),
    Form(
        "compose-wait-down",
        ("compose", "wait"),
        _downs_project,
        Reach.PROJECT_DOWN,
        "removes the project's containers, and orphans, once a service has ended",
        "",
        "docker/compose pkg/compose/wait.go",
    ),
    Form(
        "compose-rm-volumes",
        ("compose", "rm"),
        _volumes_for_real,
        Reach.PROJECT_RM,
        "removes the anonymous volumes of the containers it removes",
        "force",
        "docker/compose pkg/compose/remove.go",
    ),
    Form(
        "compose-rm",
        ("compose", "rm"),
        _for_real,
        Reach.PROJECT_RM,
        "removes stopped containers with all that they wrote outside their volumes",
        "force",
        "docker/compose pkg/compose/remove.go",
    ),
    *(
        Form(
            f"compose-{verb}",
            ("compose", verb),
            _for_real,
            Reach.PROJECT_UP,
            sentence,
            "",
            source,
        )
        for verb, sentence, source in (
            (
                "up",
                "replaces containers whose definition changed, and makes missing host paths",
                "docker/compose pkg/compose/convergence.go",
            ),
            (
                "create",
                "replaces containers whose definition changed",
                "docker/compose pkg/compose/create.go",
            ),
            (
                "run",
                "starts a new container; a host path that is not there is made, empty and root's",
                "docker/compose pkg/compose/run.go",
            ),
            (
                "scale",
                "removes the containers that are left over",
                "docker/compose pkg/compose/convergence.go",
            ),
            (
                "watch",
                "replaces containers and overwrites files in them as the sources change",
                "docker/compose pkg/compose/watch.go",
            ),
            (
                "start",
                "starts containers; a host path that is not there is made, empty and root's",
                "docker/compose pkg/compose/start.go",
            ),
            (
                "restart",
                "starts containers; a host path that is not there is made, empty and root's",
                "docker/compose pkg/compose/restart.go",
            ),
        )
    ),
    *(
        Form(
            f"compose-{verb}",
            ("compose", verb),
            _for_real,
            Reach.PROJECT_ENDED,
            "ends the containers; one that was started with --rm is removed then",
            "",
            f"docker/compose pkg/compose/{verb}.go",
        )
        for verb in ("stop", "kill")
    ),
    Form(
        "compose-cp",
        ("compose", "cp"),
        _for_real,
        Reach.OVERWRITTEN,
        "writes over files of the same name, without asking",
        "",
        "docker/compose pkg/compose/cp.go",
    ),
    # swarm
    Form(
        "service-scale",
        ("service", "scale"),
        _always,
        Reach.SURPLUS_TASKS,
        "removes the tasks that are left over, and their containers' anonymous volumes",
        "",
        "moby daemon/cluster/executor/container/controller.go Remove",
    ),
    *(
        Form(
            f"service-{verb}",
            ("service", verb),
            _always,
            Reach.SURPLUS_TASKS,
            "removes tasks that are left over, and the oldest past the swarm's history limit",
            "",
            "moby/swarmkit manager/orchestrator/taskreaper/task_reaper.go",
        )
        for verb in ("update", "rollback")
    ),
    Form(
        "stack-deploy",
        ("stack", "deploy"),
        _always,
        Reach.SURPLUS_TASKS,
        "replaces the tasks of changed services; with --prune it removes what the file leaves out",
        "",
        "docker/cli cli/command/stack/swarm/deploy_composefile.go",
    ),
    Form(
        "node-update",
        ("node", "update"),
        lambda command: command.value("availability") == "drain",
        Reach.SURPLUS_TASKS,
        "moves the node's tasks away; those past the history limit go with their volumes",
        "",
        "moby/swarmkit manager/orchestrator/taskreaper/task_reaper.go",
    ),
    Form(
        "stack-rm",
        ("stack", "rm"),
        _always,
        Reach.STACKS,
        "removes the stack's services, secrets, configs and networks",
        "",
        "docker/cli cli/command/stack/swarm/remove.go",
    ),
    Form(
        "swarm-leave",
        ("swarm", "leave"),
        _always,
        Reach.SWARM,
        "takes this node out of the swarm; with the last manager goes all that the swarm knew",
        "",
        "moby daemon/cluster/cluster.go Leave",
    ),
    *(
        Form(
            f"{what}-rm",
            (what, "rm"),
            _always,
            Reach.NAMED,
            sentence,
            "",
            source,
        )
        for what, sentence, source in (
            (
                "service",
                "removes the services, and their tasks' containers with their anonymous volumes",
                "moby daemon/cluster/executor/container/controller.go Remove",
            ),
            (
                "secret",
                "removes secrets, whose values can't be read back",
                "docker/cli cli/command/secret/remove.go",
            ),
            ("config", "removes configs", "docker/cli cli/command/config/remove.go"),
            (
                "plugin",
                "removes plugins; the volumes of a volume plugin are out of reach then",
                "docker/cli cli/command/plugin/remove.go",
            ),
        )
    ),
    Form(
        "context-rm",
        ("context", "rm"),
        _always,
        Reach.CONTEXTS,
        "removes contexts with their certificates",
        "",
        "docker/cli cli/command/context/remove.go",
    ),
    # An operand that is a path, of commands that lose nothing of weight otherwise.
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
        for path in (
            ("container", "rm"),
            ("image", "rm"),
            ("network", "rm"),
            ("node", "rm"),
            operands.CHECKPOINT,
        )
    ),
    # images and cache
    *(
        Form("-".join(path), path, _always, reach, sentence, asks, source)
        for path, reach, sentence, asks, source in (
            (
                ("image", "rm"),
                Reach.IMAGES,
                "removes images, or names of images",
                "",
                "moby daemon/images/image_delete.go",
            ),
            (
                ("image", "prune"),
                Reach.IMAGES,
                "removes unused images",
                "force",
                "moby daemon/images/image_prune.go",
            ),
            (
                ("builder", "prune"),
                Reach.BUILD_CACHE,
                "removes build cache",
                "force",
                "docker/cli cli/command/builder/prune.go",
            ),
            (
                ("buildx", "prune"),
                Reach.BUILD_CACHE,
                "removes build cache",
                "force",
                "docker/buildx commands/prune.go",
            ),
            (
                ("buildx", "rm"),
                Reach.BUILD_CACHE,
                "removes a builder with its cache",
                "",
                "docker/buildx commands/rm.go",
            ),
        )
    ),
)


# What makes or starts containers, so that there may be a hint to tell before.
HINTED = frozenset(
    (
        *(("container", verb) for verb in ("run", "create")),
        *(("compose", verb) for verb in ("up", "create", "run", "start", "scale", "watch")),
    )
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


def spares_volumes(command: Command, form: Form) -> bool:
    """Can a command under this row take no more than containers with their own files?

    A doubt counts as the row that takes volumes, which stands first.
    """
    if form.reach in _OF_CONTAINERS_ONLY:
        return True
    named = {"container-rm", "compose-down", "compose-rm"}
    return form.name in named and not operands.wanders(command)


_OF_CONTAINERS_ONLY = frozenset(
    (
        Reach.STOPPED_CONTAINERS,
        Reach.ENDED_CONTAINERS,
        Reach.OVERWRITTEN,
        Reach.PROJECT_ENDED,
    )
)


def _doubtful(command: Command, form: Form) -> bool:
    """Could an option that is new to us have switched the form on? No option makes a path."""
    return bool(command.doubts) and form.when is not _wanders and not command.on("dry-run")
