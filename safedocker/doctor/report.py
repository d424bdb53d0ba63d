"""What `safedocker doctor` found out, in words and for programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from safedocker.loss.facts import Bytes

NAMED_TOO_BELOW = (1, 42)  # moby 23.0: from this API on `volume prune` takes anonymous ones only


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
class ShellSeen:
    """What `docker` is in one of the person's shells. `guarded`: it goes through a shim; None where
    that could not be found out."""

    shell: str  # "bash", ..., "sudo"
    started: str  # "login", "interactive", or as whom
    docker: str  # a path, an alias or a function in its own words; "" where there is none
    guarded: bool | None


@dataclass(frozen=True)
class StoreSeen:
    """Where backups are kept. `free` is in bytes, `disk` the mount point."""

    where: str
    backups: int
    disk: str
    free: int
    audit: str
    audit_lines: int


@dataclass(frozen=True)
class Finding:
    """Something that is not well, and what to do about it."""

    kind: str  # "client", "engine", "bad version", "drift", "shell", "shim", "store", ...
    subject: str
    what: str
    to_do: str
    source: str = ""


@dataclass
class Report:
    """All that was found. A note is a fault that nothing can be done about yet."""

    programs: list[Program] = field(default_factory=list)
    engine: EngineSeen | None = None
    shells: list[ShellSeen] = field(default_factory=list)
    store: StoreSeen | None = None
    findings: list[Finding] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)


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
    for seen in report.shells:
        stands = {True: "guarded", False: "not guarded", None: "not known"}[seen.guarded]
        yield f"{seen.shell} ({seen.started}): {seen.docker or 'no docker'}: {stands}"
    store = report.store
    if store:
        yield f"backups: {store.backups} in {store.where}, {Bytes(store.free)} free on {store.disk}"
        yield f"audit: {store.audit_lines} lines in {store.audit}"
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
        "shells": [vars(one) for one in report.shells],
        "store": report.store and vars(report.store),
        "findings": [vars(one) for one in report.findings],
        "notes": [vars(one) for one in report.notes],
    }
