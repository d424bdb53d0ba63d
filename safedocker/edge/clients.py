"""Asks the real docker and docker-compose what they are and what they would do. Every question is
one that changes nothing; the answers are nouns, the rules are loss/compose.py's."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import yaml

from safedocker.command.parse import Clients, Command
from safedocker.edge import versions
from safedocker.edge.process import Streams
from safedocker.errors import NoEngine, WouldFail
from safedocker.loss.compose import PLAIN
from safedocker.loss.facts import DryRun, Model, ModelVolume

ANSWER_SECONDS = 60.0
# Docker 28.1.0 to 28.5.2 drops the label entries of config.json's pruneFilters (docker/cli
# d97f65c4da, f81816ef88); every other client sends them.
PRUNE_FILTERS_DROPPED = ((28, 1, 0), (28, 5, 3))
_PROJECT_OF_V1 = re.compile(r"com\.docker\.compose\.project=([^'\"\]]+)")
_DRY_RUN_LINE = re.compile(
    r"^\s*(?:DRY-RUN MODE -\s+)?(Container|Volume)\s+(\S+)\s+(?:Removing|Removed|Resource is still)"
)

_NO_PLUGIN = re.compile("is not a docker command|unknown flag: --short")
_NO_SUCH_SERVICE = "not running in project"  # by name only, 2.30 and later: then nothing goes


@dataclass(frozen=True)
class Answer:
    """What a real client said."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class RealClient:
    """The real binary that the command will run, asked with the command's own global options."""

    real: str
    program: str
    streams: Streams  # the descriptors that Compose reads its files from

    def versions(self, command: Command) -> Clients:
        """The versions of the client and, for a Compose command, of the Compose that will run.

        None for one that does not say. Raise WouldFail where `docker compose` is no command.
        """
        if self.program == "docker-compose":
            return Clients(compose=self._compose_version(("version", "--short"), (self.real,)))
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
        return _version(self._ask((self.real, "--version")).out)

    def _compose_version(
        self, words: Sequence[str], files: Sequence[str]
    ) -> tuple[int, ...] | None:
        def ask() -> tuple[int, ...] | None:
            said = self._ask((self.real, *words))
            # Without the plugin docker takes --short for its own, and has none (20.10 to 28.5).
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
        dry_run, refused = self._dry_run(rehearsal)
        name = command.project_value("project-name") or ""
        if name and not command.project_values("file"):
            # 2.40 lower-cases the name and goes on; 2.26 refuses an upper-case one by itself. What
            # the rehearsal alone refuses may be the rehearsal's own trouble, so ask another way.
            # Only the name's own fault counts: an engine that is away for a moment comes back.
            if refused:
                said = self._ask((self.real, *command.prefix, "ps", "-q"))
                if said.code != 0 and "invalid project name" in said.err:
                    raise WouldFail(said.err.strip())
            return Model(name.lower(), (), (), by_name_only=True, dry_run=dry_run)
        said = self._ask((self.real, *command.prefix, "config", "--format", "json"))
        if said.code == 0 and refused:
            services = (self.real, *command.prefix, "config", "-q", "--", *command.operands)
            if self._ask(services).code != 0:
                raise WouldFail("Compose knows no such service")
        if said.code == 0:
            model = self._model_of_json(said.out)
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
        project = name or os.environ.get("COMPOSE_PROJECT_NAME", "")
        return Model(project.lower(), (), (), by_name_only=True, dry_run=dry_run)

    def _model_of_json(self, text: str) -> Model:
        try:
            said = json.loads(text)
            volumes = _volumes(said.get("volumes"))
            services = tuple(said.get("services") or {})
            project = said["name"]
        except (ValueError, KeyError, AttributeError, TypeError) as fault:
            raise NoEngine(
                f"Compose's resolved configuration can't be read ({fault}): nothing was removed",
                "see what it prints: docker compose config --format json",
            ) from fault
        return Model(project, volumes, services)

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
        containers: list[str] = []
        volumes: list[str] = []
        for line in (said.out + "\n" + said.err).splitlines():
            found = _DRY_RUN_LINE.match(line)
            if found:
                (containers if found[1] == "Container" else volumes).append(found[2])
        if not containers and not volumes and _NO_SUCH_SERVICE not in said.err:
            return None, False  # nothing to remove, or a wording that is new to us: ask the model
        return DryRun(tuple(dict.fromkeys(containers)), tuple(dict.fromkeys(volumes))), False

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
            services = tuple(document.get("services") or {})
            volumes = _volumes(document.get("volumes"), project)
        except (yaml.YAMLError, AttributeError, TypeError) as fault:
            raise NoEngine(
                f"Compose's resolved configuration can't be read ({fault}): nothing was removed",
                "see what it prints: docker-compose config",
            ) from fault
        return Model(project, volumes, services)

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


def _volumes(section: Any, project: str | None = None) -> tuple[ModelVolume, ...]:
    """The volumes section of a resolved configuration. v2 writes every name out; v1 leaves the
    project's own without one, and they are called PROJECT_KEY."""
    volumes = []
    for key, value in (section or {}).items():
        value = value or {}
        name = value.get("name") or (f"{project}_{key}" if project is not None else key)
        volumes.append(ModelVolume(key, name, bool(value.get("external"))))
    return tuple(volumes)


def _spelled(name: str, value: str) -> tuple[str, ...]:
    return (f"--{name}={value}",)


def _version(text: str) -> tuple[int, ...] | None:
    found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(part) for part in found.groups() if part is not None) if found else None
