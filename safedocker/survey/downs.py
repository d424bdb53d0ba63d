"""What `down` and `down -v` of a project would take, asked of Compose with the files that the
project's containers say they were made of: beyond the labels it knows external volumes, orphans,
profiles, and what the file names without a label.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from safedocker import survey
from safedocker.command.parse import parse
from safedocker.edge import process
from safedocker.edge.clients import RealClient
from safedocker.errors import SafedockerError, WouldFail
from safedocker.loss import forms, places
from safedocker.loss.facts import COMPOSE_FILES, COMPOSE_FOLDER, COMPOSE_VERSION
from safedocker.loss.places import Ending

if TYPE_CHECKING:
    from collections.abc import Iterable

    from safedocker.edge.engine import Engine
    from safedocker.loss.facts import Container
    from safedocker.loss.places import Taken

_AT_ONCE = 4


def taken(
    engine: Engine, containers: Iterable[Container], seconds: float
) -> tuple[dict[tuple[Ending, str], Taken], tuple[str, ...]]:
    """What both take, by project, as far as its files are here and Compose answers; and the
    projects for which there was no time in `seconds`. Nothing is raised."""
    if not engine.identity.host.startswith("unix://"):
        return {}, ()  # the files are another machine's
    projects: dict[str, Container] = {}
    for one in containers:
        if one.project is not None and _files(one):
            projects.setdefault(one.project, one)
    deadline = time.monotonic() + seconds
    late: set[str] = set()

    def ask(asked: tuple[Ending, str]) -> Taken | None:
        ending, project = asked
        if time.monotonic() > deadline:
            late.add(project)
            return None
        return _taken(engine, ending, project, projects[project])

    both = [(ending, one) for one in projects for ending in places.DOWNS]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = dict(zip(both, pool.map(ask, both), strict=True))
    return {asked: told for asked, told in found.items() if told is not None}, tuple(sorted(late))


def _files(container: Container) -> list[str]:
    """The files that a container was made of, where all of them are here."""
    folder = container.labels.get(COMPOSE_FOLDER, "")
    named = container.labels.get(COMPOSE_FILES, "")
    files = [os.path.join(folder, one) for one in named.split(",") if one]
    return files if folder and all(map(os.path.isfile, files)) else []


def _taken(engine: Engine, ending: Ending, project: str, of: Container) -> Taken | None:
    first = of.labels.get(COMPOSE_VERSION, "").startswith("1.")
    program = "docker-compose" if first else "docker"
    words = ["-H", engine.identity.host, *([] if first else ["compose"])]
    words += ["-p", project, "--project-directory", of.labels[COMPOSE_FOLDER]]
    words += [word for file in _files(of) for word in ("-f", file)]
    words += ending.value.split()
    try:
        real = process.find_real(program, "", "")
        client = RealClient(real, program, process.Streams(()))
        (command, *_) = parse(program, words)
        versions = client.versions(command)
        (command, *_) = parse(program, words, versions)
        form = forms.match(command)
        if form is None or first is not ((versions.compose or (2,))[0] == 1):
            return None
        from safedocker.shim import Settled

        settled = Settled(command, form, client, versions, (program, *words))
        plan = survey.survey(settled, engine)
    except (SafedockerError, WouldFail):
        return None
    return None if plan.gaps or plan.disputes else places.of_plan(plan)
