"""What `safedocker doctor` finds out: the real clients, the engine, faults that their versions are
known for, and where their help and our tables part. Nothing is changed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

from safedocker.command import drift
from safedocker.command.parse import Clients, parse
from safedocker.edge import process, terminal
from safedocker.edge.help import HelpTexts
from safedocker.errors import ExitCode, NoDocker, NoEngine, WouldFail
from safedocker.loss.bad_versions import Tool, bad_versions

if TYPE_CHECKING:
    from safedocker.edge.clients import RealClient

NAMED_TOO_BELOW = (1, 42)  # moby 23.0: from this API on `volume prune` takes anonymous ones only
UPDATE = "update safedocker; until then what it does not know is asked about or refused"


@dataclass(frozen=True)
class Program:
    """One real client: what it is called, where it stands, what it says its version is."""

    name: str
    path: str
    version: tuple[int, ...] | None

    @property
    def shown(self) -> str:
        return ".".join(map(str, self.version)) if self.version else "of unknown version"


@dataclass(frozen=True)
class EngineSeen:
    """The engine that a plain `docker` addresses, and what a plain `volume prune` takes there."""

    host: str
    name: str
    version: str
    api: tuple[int, int]
    spoken: tuple[int, int] | None  # the API version that the client uses with it

    @property
    def volume_prune(self) -> str:
        if self.spoken is None:
            return "unknown: the client does not say which API version it speaks"
        if self.spoken < NAMED_TOO_BELOW:
            return "every unused volume, named ones too"
        return "unused anonymous volumes; named ones only with --all"


@dataclass(frozen=True)
class Finding:
    """Something that is not well, and what to do about it."""

    kind: str  # "client", "engine", "bad version" or "drift"
    subject: str
    what: str
    to_do: str
    source: str = ""


@dataclass
class Report:
    """All that was found. A note is a fault that nothing can be done about yet."""

    programs: list[Program] = field(default_factory=list)
    engine: EngineSeen | None = None
    findings: list[Finding] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)


@click.command(short_help="Look for what is not well: versions, engine, unknown options.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def doctor(as_json: bool) -> int:
    """Look at the real clients and the engine: faults that their versions are known for, and
    commands and options that safedocker does not know. Ends with 1 if something was found.
    """
    report = examine()
    if as_json:
        terminal.say(json.dumps(told(report), indent=1))
    else:
        terminal.say("\n".join(lines(report)))
    return int(ExitCode.ERROR) if report.findings else 0


def examine() -> Report:
    """Ask the real clients and the engine. Faults are findings; nothing is raised for them."""
    report = Report()
    _docker(report)
    _standalone(report)
    for program in report.programs:
        tool = Tool.DOCKER if program.name == "docker" else Tool.COMPOSE
        if program.version and program.name != "docker buildx":
            _known_faults(report, tool, f"{program.name} {program.shown}", program.version)
    if report.engine:
        numbers = _numbers(report.engine.version)
        if numbers:
            _known_faults(report, Tool.ENGINE, f"engine {report.engine.version}", numbers)
    return report


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
    report.programs.append(Program("docker", client.real, versions.docker))
    report.findings += drift_of(client.real, "docker", (), versions)
    _engine(report, client, versions)
    try:
        versions = client.versions(parse("docker", ["compose", "ps"])[0])
    except WouldFail:
        pass
    else:
        report.programs.append(Program("docker compose", client.real, versions.compose))
        report.findings += drift_of(client.real, "docker", ("compose",), versions)
    buildx = client.buildx_version()
    if buildx is not None:
        report.programs.append(Program("docker buildx", client.real, buildx))
        report.findings += drift_of(client.real, "docker", ("buildx",), Clients(buildx=True))


def _standalone(report: Report) -> None:
    try:
        client = _client("docker-compose")
    except NoDocker:
        return  # docker has it as a plugin, or there is none: both are well
    versions = client.versions(parse("docker-compose", ["ps"])[0])
    report.programs.append(Program("docker-compose", client.real, versions.compose))
    report.findings += drift_of(client.real, "docker-compose", (), versions)


def _engine(report: Report, client: RealClient, versions: Clients) -> None:
    from safedocker.edge import address
    from safedocker.edge.engine import Engine

    try:
        with Engine(address.resolve({}, os.environ, client=versions.docker)) as engine:
            seen = engine.identity
    except NoEngine as fault:
        report.findings.append(Finding("engine", "engine", fault.message, fault.hint))
        return
    spoken = client.effective_api(parse("docker", ["volume", "prune"])[0])
    report.engine = EngineSeen(seen.host, seen.name, seen.version, seen.api, spoken)


def _known_faults(report: Report, tool: Tool, subject: str, version: tuple[int, ...]) -> None:
    for row in bad_versions(tool, version):
        fixed = row.fixed(version)
        to_do = f"update to {fixed}" if fixed else "nothing yet: no release has a fix"
        found = Finding("bad version", subject, row.what, to_do, row.source)
        (report.findings if fixed else report.notes).append(found)


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


def lines(report: Report) -> Iterator[str]:
    """The report in words."""
    for program in report.programs:
        yield f"{program.name} {program.shown} ({program.path})"
    engine = report.engine
    if engine:
        named = f" {engine.name}" if engine.name else ""
        api = ".".join(map(str, engine.api))
        yield f"engine{named} {engine.version}, API {api} ({engine.host})"
        yield f"docker volume prune takes there: {engine.volume_prune}"
    for title, found in (("found", report.findings), ("good to know", report.notes)):
        if found:
            yield ""
            yield f"{title}:"
        for one in found:
            source = f" ({one.source})" if one.source else ""
            yield f"  {one.subject}: {one.what}{source}"
            yield f"    {one.to_do}"
    yield ""
    yield f"{len(report.findings)} found" if report.findings else "all is well"


def told(report: Report) -> dict[str, object]:
    """The same for programs."""
    engine = report.engine
    return {
        "doctor": 1,
        "clients": [
            {"name": one.name, "path": one.path, "version": one.shown if one.version else None}
            for one in report.programs
        ],
        "engine": engine
        and {
            "host": engine.host,
            "name": engine.name,
            "version": engine.version,
            "api": ".".join(map(str, engine.api)),
            "api_spoken": ".".join(map(str, engine.spoken)) if engine.spoken else None,
            "volume_prune": engine.volume_prune,
        },
        "findings": [vars(one) for one in report.findings],
        "notes": [vars(one) for one in report.notes],
    }
