"""The real clients and the engine: versions, faults that these are known for, and where their help
and our tables part."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from safedocker.command import drift
from safedocker.command.parse import Clients, parse
from safedocker.doctor.report import EngineSeen, Finding, Program, Report
from safedocker.edge import process
from safedocker.edge.help import HelpTexts
from safedocker.errors import NoDocker, NoEngine, WouldFail
from safedocker.loss.bad_versions import Tool, bad_versions

if TYPE_CHECKING:
    from safedocker.edge.clients import RealClient
    from safedocker.edge.engine import Engine

UPDATE = "update safedocker; until then what it does not know is asked about or refused"


def examine(report: Report, *, quick: bool = False) -> None:
    """Ask the real clients, and unless it has to be quick compare their help with what we know."""
    _docker(report)
    _standalone(report)
    if not quick:
        _drift(report)
    for program in report.programs:
        tool = Tool.DOCKER if program.name == "docker" else Tool.COMPOSE
        if program.version and program.name != "docker buildx":
            _known_faults(report, tool, f"{program.name} {program.shown}", program.version)


def _client(program: str) -> RealClient:
    """Raise NoDocker where there is none."""
    from safedocker.edge.clients import RealClient

    return RealClient(process.find_real(program, "", ""), program, process.Streams(()))


def _docker(report: Report) -> None:
    try:
        client = _client("docker")
    except NoDocker as fault:
        report.findings.append(Finding("client", "docker", fault.message, fault.hint))
        return
    versions = client.versions(parse("docker", ["ps"])[0])
    try:
        client.check_is_docker()
    except NoEngine as fault:
        report.findings.append(Finding("client", "docker", fault.message, fault.hint))
        return
    report.programs.append(Program("docker", client.real, versions.docker))
    try:
        versions = client.versions(parse("docker", ["compose", "ps"])[0])
    except WouldFail:
        pass
    else:
        report.programs.append(Program("docker compose", client.real, versions.compose))
    buildx = client.buildx_version()
    if buildx is not None:
        report.programs.append(Program("docker buildx", client.real, buildx))


def _standalone(report: Report) -> None:
    try:
        client = _client("docker-compose")
    except NoDocker:
        return  # docker has it as a plugin, or there is none: both are well
    versions = client.versions(parse("docker-compose", ["ps"])[0])
    report.programs.append(Program("docker-compose", client.real, versions.compose))


def open_engine(report: Report) -> Engine | None:
    """The engine that a plain `docker` addresses, to be closed by the caller. None, and a finding,
    where it does not answer."""
    from safedocker.edge import address
    from safedocker.edge.engine import Engine

    try:
        client = _client("docker")
        versions = client.versions(parse("docker", ["ps"])[0])
        client.check_is_docker()
    except (NoDocker, NoEngine):
        return None  # it is found already that there is none
    try:
        engine = Engine(address.resolve({}, os.environ, client=versions.docker))
    except NoEngine as fault:
        report.findings.append(Finding("engine", "engine", fault.message, fault.hint))
        return None
    seen = engine.identity
    spoken = client.effective_api(parse("docker", ["volume", "prune"])[0])
    report.engine = EngineSeen(seen.host, seen.name, seen.version, seen.api, spoken)
    numbers = _numbers(seen.version)
    if numbers:
        _known_faults(report, Tool.ENGINE, f"engine {seen.version}", numbers)
    return engine


def _known_faults(report: Report, tool: Tool, subject: str, version: tuple[int, ...]) -> None:
    for row in bad_versions(tool, version):
        fixed = row.fixed(version)
        to_do = f"update to {fixed}" if fixed else "nothing yet: no release has a fix"
        found = Finding("bad version", subject, row.what, to_do, row.source)
        (report.findings if fixed else report.notes).append(found)


def _drift(report: Report) -> None:
    """What each client's help has, and we do not know."""
    for program in report.programs:
        first, *start = program.name.split()
        match program.name:
            case "docker":
                clients = Clients(docker=program.version)
            case "docker buildx":
                clients = Clients(buildx=True)
            case _:
                clients = Clients(compose=program.version)
        report.findings += drift_of(program.path, first, tuple(start), clients)


def drift_of(
    real: str, program: str, start: tuple[str, ...], clients: Clients
) -> Iterator[Finding]:
    """Ask for the help of every command from `start` down, level by level, and compare."""
    texts = HelpTexts(real)
    level: Sequence[tuple[str, ...]] = [start]
    seen: set[str] = set()
    while level:
        below: list[tuple[str, ...]] = []
        for words, text in zip(level, texts.ask(level), strict=True):
            for news in drift.drift(program, words, text, clients):
                yield Finding("drift", news.command, news.what, UPDATE)
            for command in drift.below(program, words, text, clients):
                if command.key not in seen:
                    seen.add(command.key)
                    below.append(command.words)
        level = below


def _numbers(text: str) -> tuple[int, ...]:
    """The leading numbers of a version: "26.1.5+dfsg1" is (26, 1, 5)."""
    numbers = []
    for part in text.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if digits:
            numbers.append(int(digits))
        if digits != part:
            break
    return tuple(numbers)
