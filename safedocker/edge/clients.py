"""Asks the real docker and docker-compose what they are and what they would do. Every question is
one that changes nothing; the answers are nouns, the rules are loss/compose.py's."""

from __future__ import annotations

import concurrent.futures
import json
import os
import pathlib
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import yaml

from safedocker.command.parse import Clients, Command
from safedocker.edge import model as resolved
from safedocker.edge import versions
from safedocker.edge.process import Streams
from safedocker.errors import NoEngine, WouldFail
from safedocker.loss.compose import PLAIN
from safedocker.loss.facts import HELPER, DryRun, Model

ANSWER_SECONDS = 60.0
NEWEST = (99,)  # a Compose that does not say its version is read as the latest
# Docker 28.1.0 to 28.5.2 drops the label entries of config.json's pruneFilters (docker/cli
# d97f65c4da, f81816ef88); every other client sends them.
PRUNE_FILTERS_DROPPED = ((28, 1, 0), (28, 5, 3))
FILE_NAMES = tuple(
    f"{name}.{ending}" for name in ("compose", "docker-compose") for ending in ("yaml", "yml")
)
_PROJECT_OF_V1 = re.compile(r"com\.docker\.compose\.project=([^'\"\]]+)")
# Options of `docker run` that `create` does not have, that would make something, or that are judged
# elsewhere.
_NOT_REHEARSED = frozenset(
    (
        *("detach", "detach-keys", "sig-proxy", "pull", "name", "cidfile", "help"),
        *("volume", "mount", "volumes-from", "volume-driver", "tmpfs"),
    )
)
_NO_PLUGIN = re.compile("is not a docker command|unknown flag: --short")
_NO_SUCH_SERVICE = "not running in project"  # by name only, 2.30 and later: then nothing goes


@dataclass(frozen=True)
class Answer:
    """What a real client said."""

    code: int
    out: str
    err: str


_NOTHING = Answer(0, "", "")


@dataclass(frozen=True)
class RealClient:
    """The real binary that the command will run, asked with the command's own global options."""

    real: str
    program: str
    streams: Streams  # the descriptors that Compose reads its files from
    # What Compose has told of its files, the last answer last: who looks again need not ask again.
    told: list[Model] = field(default_factory=list, compare=False)
    podman: list[str] = field(default_factory=list, compare=False)  # what Podman calls itself

    def check_is_docker(self) -> None:
        """Once the versions were asked for: raise NoEngine where `docker` is Podman, as the package
        podman-docker has it. What it would remove is in no engine that we can ask."""
        if self.podman:
            raise NoEngine(
                f"docker is Podman here ({self.podman[0]}): what it would remove can't be known",
                "with a real docker beside it: safedocker install --real PATH_OF_DOCKER; without: "
                "safedocker uninstall",
            )

    def versions(self, command: Command) -> Clients:
        """The versions of the client and, for a Compose command, of the Compose that will run.

        None for one that does not say. Raise WouldFail where `docker compose` is no command, or
        an alias of config.json keeps docker from running any.
        """
        if self.program == "docker-compose":
            return Clients(compose=self._compose_version(("version", "--short"), (self.real,)))
        if forbidden := versions.forbidden_alias(command, os.environ):
            raise WouldFail(f"docker does not allow the alias {forbidden}")
        docker = versions.remembered("docker", (self.real,), self._docker_version)
        if command.path[:1] != ("compose",):
            return Clients(docker=docker)
        alias = None
        if command.plugin[-1:] == ("builder",):
            alias = versions.builder_alias(command, os.environ)
            if alias != "compose":
                raise WouldFail("docker builder is not Compose here")
        asked = (*command.plugin, "version", "--short")
        files = versions.plugin_binaries(self.real, "compose", command, os.environ)
        return Clients(docker=docker, compose=self._compose_version(asked, files), builder=alias)

    def _docker_version(self) -> tuple[int, ...] | None:
        said = self._ask((self.real, "--version")).out
        if said.lower().startswith("podman"):
            self.podman.append(said.strip())
        return _version(said)

    def _compose_version(
        self, words: Sequence[str], files: Sequence[str]
    ) -> tuple[int, ...] | None:
        def ask() -> tuple[int, ...] | None:
            said = self._ask((self.real, *words))
            # Without the plugin docker reads --short as an option of its own (20.10 to 28.5).
            if said.code != 0 and _NO_PLUGIN.search(said.err):
                raise WouldFail("docker compose is not installed")
            return _version(said.out)

        return versions.remembered("compose", files, ask)

    def buildx_version(self) -> tuple[int, ...] | None:
        """The version of docker's buildx; None where it has none."""
        said = self._ask((self.real, "buildx", "version"))
        return _version(said.out) if said.code == 0 else None

    def effective_api(self, command: Command) -> tuple[int, int] | None:
        """The API version the client will speak with this engine, by its own word; else None.

        Newer engines, older clients and DOCKER_API_VERSION all lower it, and what a prune takes
        hangs on it (docker-semantics 3.2).
        """
        given = [word for pair in command.globals for word in _spelled(*pair)]
        said = self._ask((self.real, *given, "version", "--format", "{{.Client.APIVersion}}"))
        version = _version(said.out)
        if said.code != 0 or version is None or len(version) < 2:
            return None
        return version[0], version[1]

    def rehearse_create(self, command: Command, label: str) -> Answer | None:
        """Have the real docker make the container of a `docker run`, under no name and without its
        mounts, and not start it. A client or an engine that refuses it refuses the command too.

        It says the container's id, which is the caller's to remove; `label` is the value of our
        label on it. None where that can't be tried: a file is to be read that can be read once.
        """
        flags = [pair for pair in command.flags if pair[0] not in _NOT_REHEARSED]
        files = [value for name, value in flags if name in {"env-file", "label-file"}]
        if not all(pathlib.Path(file).is_file() or not os.path.exists(file) for file in files):
            return None
        if command.on("use-api-socket") or command.value("platform"):
            return None
        words = [word for pair in command.globals for word in _spelled(*pair)]
        words += ["container", "create", f"--label={HELPER}={label}", "--pull=never"]
        words += [word for pair in flags for word in _spelled(*pair)]
        return self._ask((self.real, *words, "--", *command.operands))

    def model(
        self, command: Command, versions: Clients, rehearsal: Sequence[str] | None
    ) -> Model | None:
        """What Compose makes of its files and options; None when it can't be found out.

        `rehearsal` are the words of the command with --dry-run, where that is certain to be one.
        Raise WouldFail when Compose would refuse by itself.
        """
        if self.streams.once:
            return None  # asking would leave nothing for the command itself to read
        compose = versions.compose
        if compose is not None and compose[0] == 1:
            return self._model_of_v1(command)
        name = command.project_value("project-name") or ""
        by_name = bool(name) and not command.project_values("file")
        # Both take as long as Compose takes to start, so they are asked side by side.
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            rehearsed = pool.submit(self._dry_run, rehearsal)
            config = (self.real, *command.prefix, "config", "--format", "json")
            said = _NOTHING if by_name else self._ask(config)
            dry_run, refused = rehearsed.result()
        if by_name:
            # 2.40 lower-cases the name and goes on; 2.26 refuses an upper-case one by itself. What
            # the rehearsal alone refuses may be the rehearsal's own trouble, so ask another way.
            # Only the name's own fault counts: an engine that is away for a moment comes back.
            if refused:
                said = self._ask((self.real, *command.prefix, "ps", "-q"))
                if said.code != 0 and "invalid project name" in said.err:
                    raise WouldFail(said.err.strip())
            return Model(name.lower(), (), (), by_name_only=True, dry_run=dry_run)
        if said.code == 0 and refused:
            services = (self.real, *command.prefix, "config", "-q", "--", *command.operands)
            if self._ask(services).code != 0:
                raise WouldFail("Compose knows no such service")
        if said.code == 0:
            model = self._model_of_json(said.out, versions)
            if dry_run is None:
                model = replace(model, disabled=self._disabled(command, model))
            return replace(model, dry_run=dry_run)
        if dry_run is not None and rehearsal and command.project_value("progress") != "tty":
            # The rehearsal overrides --progress; was it that which Compose refuses?
            typed = (word for word in rehearsal if word != PLAIN)
            refused = self._ask((self.real, *typed)).code != 0
        if refused and not _remote(files_of(command)):
            raise WouldFail(said.err.strip())
        if dry_run is None:
            return None
        # `down` needs less than `config`, or falls back to a name: the rehearsal knows.
        project = name or self._told_name(command)
        return Model(project.lower(), (), (), by_name_only=True, dry_run=dry_run)

    def project(
        self, command: Command, versions: Clients, services: Sequence[str], *, or_name: bool
    ) -> Model | None:
        """What Compose makes of its files, narrowed to these services and what they depend on; None
        when it can't be found out.

        `or_name`: a command that can work by the project's name alone, as Compose decides that.
        Raise WouldFail when Compose would refuse by itself.
        Source: docker/compose cmd/compose/compose.go ToProject, projectOrName (2.26, 2.40).
        """
        if self.streams.once:
            return None  # asking would leave nothing for the command itself to read
        if versions.compose is not None and versions.compose[0] == 1:
            model = self._model_of_v1(command)
            if model is not None and not set(services) <= set(model.services):
                raise WouldFail("Compose knows no such service")
            return model
        name = command.project_value("project-name") or ""
        if or_name and name and not command.project_values("file"):
            return Model(name.lower(), (), (), by_name_only=True)
        words = ("config", "--format", "json", "--", *services)
        said = self._ask((self.real, *command.prefix, *words))
        if said.code == 0:
            return self._model_of_json(said.out, versions)
        name = self._told_name(command)
        if or_name and name:
            return Model(name.lower(), (), (), by_name_only=True)
        if _remote(files_of(command)):
            return None
        raise WouldFail(said.err.strip())

    def hashes(self, command: Command) -> dict[str, str]:
        """What v1 makes of each enabled service's definition and image, by the service's name.

        Source: compose/service.py config_hash (1.29); `up` compares it with the containers' label.
        """
        said = self._ask((self.real, *_read_twice(command), "config", "--hash", "*"))
        pairs = (line.partition(" ") for line in said.out.splitlines() if said.code == 0)
        return {name: value for name, space, value in pairs if space}

    def rehearse(self, words: Sequence[str]) -> tuple[DryRun, str]:
        """What Compose's own dry run names, and what it failed with, "" when it did not."""
        said = self._ask((self.real, *words))
        fault = "" if said.code == 0 else said.err.strip() or "it failed"
        return resolved.read_dry_run(said.out + "\n" + said.err), fault

    def _model_of_json(self, text: str, versions: Clients) -> Model:
        try:
            said = json.loads(text)
            volumes = resolved.volumes(said.get("volumes"))
            section = said.get("services") or {}
            services = tuple(section)
            project = said["name"]
            definitions = resolved.services(section, project, versions.compose or NEWEST)
        except (ValueError, KeyError, AttributeError, TypeError) as fault:
            raise NoEngine(
                f"Compose's resolved configuration can't be read ({fault}): nothing was removed",
                "see what it prints: docker compose config --format json",
            ) from fault
        self.told.append(Model(project, volumes, services, definitions=definitions))
        return self.told[-1]

    def _disabled(self, command: Command, model: Model) -> tuple[str, ...]:
        """The file's services that the profiles in force leave out: theirs are no orphans."""
        said = self._ask((self.real, *command.prefix, "--profile", "*", "config", "--services"))
        return tuple(sorted(set(said.out.split()) - set(model.services))) if said.code == 0 else ()

    def _dry_run(self, words: Sequence[str] | None) -> tuple[DryRun | None, bool]:
        """What Compose's own --dry-run says, and whether Compose refused the command."""
        if words is None:
            return None, False
        said = self._ask((self.real, *words))
        if said.code != 0:
            return None, True
        found = resolved.read_dry_run(said.out + "\n" + said.err)
        if not found.containers and not found.volumes and _NO_SUCH_SERVICE not in said.err:
            return None, False  # nothing to remove, or a wording that is new to us: ask the model
        return found, False

    def _model_of_v1(self, command: Command) -> Model | None:
        """v1 prints its configuration as YAML, without the project's name; the name stands in what
        it asks the engine for, which --verbose shows."""
        said = self._ask((self.real, *command.prefix, "config"))
        loud = () if command.project_value("verbose") else ("--verbose",)
        asked = self._ask((self.real, *loud, *command.prefix, "ps", "-q"))
        if said.code != 0 and asked.code != 0:
            raise WouldFail(said.err.strip())
        if said.code != 0:
            return None
        found = _PROJECT_OF_V1.search(asked.err)
        if found is None:
            raise NoEngine(
                "Compose v1 does not say which project this is: nothing was removed",
                "see what it prints: docker-compose ps",
            )
        project = found[1]
        try:
            document = yaml.safe_load(said.out) or {}
            section = document.get("services") or {}
            volumes = resolved.volumes(document.get("volumes"), project)
            definitions = resolved.services(section, project, (1, 29))
        except (yaml.YAMLError, AttributeError, TypeError) as fault:
            raise NoEngine(
                f"Compose's resolved configuration can't be read ({fault}): nothing was removed",
                "see what it prints: docker-compose config",
            ) from fault
        self.told.append(Model(project, volumes, tuple(section), definitions=definitions))
        return self.told[-1]

    def _told_name(self, command: Command) -> str:
        """The project's name as the environment tells it, or v2's env files, which come into it.

        Source: docker/compose cmd/compose/compose.go setEnvWithDotEnv.
        """
        told = os.environ.get("COMPOSE_PROJECT_NAME", "")
        if told or os.environ.get("COMPOSE_DISABLE_ENV_FILE", "").lower() in {"1", "t", "true"}:
            return told
        files = command.project_values("env-file") or tuple(
            one for one in os.environ.get("COMPOSE_ENV_FILES", "").split(",") if one
        )
        read = [_variables(path) for path in files] or [self.dot_env(command)]
        names = [one.get("COMPOSE_PROJECT_NAME", "") for one in read]
        return next((name for name in reversed(names) if name), "")

    def folder(self, command: Command) -> str:
        """The project's folder, as its containers' label names it: that of the first file, or the
        nearest above that has one.

        Source: docker-semantics 2.2, 2.3.
        """
        told = command.project_value("project-directory")
        if told:
            return os.path.abspath(told)
        separator = os.environ.get("COMPOSE_PATH_SEPARATOR", "") or os.pathsep
        listed = os.environ.get("COMPOSE_FILE") or self.dot_env(command).get("COMPOSE_FILE", "")
        files = command.project_values("file") or tuple(listed.split(separator))
        if files[0]:
            return "" if _remote(files[:1]) else os.path.dirname(os.path.abspath(files[0]))
        above = pathlib.Path(os.path.abspath("."))
        for folder in (above, *above.parents):
            if any((folder / name).exists() for name in FILE_NAMES):
                return str(folder)
        return ""

    def dot_env(self, command: Command) -> dict[str, str]:
        """The variables of the project's .env, from which Compose v1 takes its engine too.

        Source: docker-compose 1.29.2 compose/cli/command.py get_project_dir, project_from_options.
        """
        files = command.project_values("file") or tuple(
            os.environ.get("COMPOSE_FILE", "").split(os.environ.get("COMPOSE_PATH_SEPARATOR", ":"))
        )
        first = "" if files[0] == "-" else os.path.dirname(files[0])
        folder = command.project_value("project-directory") or first
        path = os.path.join(folder, command.project_value("env-file") or ".env")
        return _variables(path)

    def _ask(self, argv: Sequence[str]) -> Answer:
        try:
            done = subprocess.run(
                [os.fsencode(word) for word in argv],
                stdin=None if self.streams.stdin else subprocess.DEVNULL,
                capture_output=True,
                close_fds=False,  # `-f <(...)` stands on a descriptor that we were given
                timeout=ANSWER_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as fault:
            raise NoEngine(
                f"{' '.join(argv)} gave no answer in {ANSWER_SECONDS:.0f} s: nothing was removed",
                "try that command by hand",
            ) from fault
        except OSError as fault:
            raise NoEngine(
                f"{argv[0]} can't be run: {fault.strerror}", "nothing was removed"
            ) from fault
        finally:
            self.streams.rewind()
        return Answer(
            done.returncode,
            done.stdout.decode("utf-8", "surrogateescape"),
            done.stderr.decode("utf-8", "surrogateescape"),
        )


def _variables(path: str) -> dict[str, str]:
    """What an env file sets, as far as it can be read line by line."""
    try:
        lines = pathlib.Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    pairs = (line.strip().removeprefix("export ").partition("=") for line in lines)
    return {
        key.strip(): value.strip().strip("'\"")
        for key, equals, value in pairs
        if equals and not key.startswith("#")
    }


def files_of(command: Command) -> tuple[str, ...]:
    """Every path that Compose is told to read: its files and env files, from argv and environment.

    Source: docker-semantics 2.3.
    """
    separator = os.environ.get("COMPOSE_PATH_SEPARATOR", "") or os.pathsep
    told = (
        *command.project_values("file"),
        *command.project_values("env-file"),
        *os.environ.get("COMPOSE_FILE", "").split(separator),
        *os.environ.get("COMPOSE_ENV_FILES", "").split(","),
    )
    return tuple(path for path in told if path)


def _read_twice(command: Command) -> tuple[str, ...]:
    """v1's own options, for a question on which it reads its files twice: what stands on stdin is
    opened anew then, in the folder that `-f -` stands for."""
    if "-" not in command.project_values("file"):
        return command.prefix
    words = [] if command.project_value("project-directory") else ["--project-directory=."]
    for name, value in (*command.globals, *command.project):
        place = "/dev/stdin" if (name, value) == ("file", "-") else value
        words.append(f"--{name}" if value == "true" else f"--{name}={place}")
    return tuple(words)


def _remote(files: Sequence[str]) -> bool:
    """Is one of them fetched, so that a failure now says little about a moment later?"""
    return any("://" in file or file.startswith("git@") for file in files)


def prune_filters(
    command: Command, versions: Clients, environ: Mapping[str, str]
) -> tuple[tuple[str, str], ...]:
    """config.json's pruneFilters as (key, value), as far as this client really sends them."""
    folder = command.global_value("config") or environ.get("DOCKER_CONFIG")
    if not folder:
        folder = os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".docker")
    try:
        text = pathlib.Path(folder, "config.json").read_text(encoding="utf-8")
        entries = json.loads(text).get("pruneFilters") or []
        pairs = [_filter(entry) for entry in entries]
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, AttributeError, TypeError):
        return ()  # the client itself reads it no better, and sends no filter: the wider set
    low, high = PRUNE_FILTERS_DROPPED
    if versions.docker is None or low <= versions.docker < high:
        return tuple(pair for pair in pairs if not pair[0].startswith("label"))
    return tuple(pairs)


def removes_orphans(versions: Clients, environ: Mapping[str, str]) -> bool:
    """Does COMPOSE_REMOVE_ORPHANS make `down` take orphans? v1 ignores it."""
    if versions.compose is None or versions.compose[0] == 1:
        return False
    return environ.get("COMPOSE_REMOVE_ORPHANS", "").lower() in {"1", "t", "true", "y", "yes"}


def _filter(entry: str) -> tuple[str, str]:
    key, _, value = entry.partition("=")
    return key.strip(), value.strip()


def _spelled(name: str, value: str) -> tuple[str, ...]:
    return (f"--{name}={value}",)


def _version(text: str) -> tuple[int, ...] | None:
    found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(part) for part in found.groups() if part is not None) if found else None
