"""Data without a container, in words: what it is, whose it was, and commands to paste. Nothing is
printed here."""

from __future__ import annotations

import datetime
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from safedocker.edge.wording import ago, clean, count, own_command, short, to_type
from safedocker.edge.wording_places import size
from safedocker.loss.facts import COMPOSE_VOLUME, Holds
from safedocker.loss.orphans import Trace

if TYPE_CHECKING:
    from safedocker.backup.manifest import Backup
    from safedocker.loss.facts import Container, EngineIdentity, Look, Volume
    from safedocker.loss.orphans import Origin

VERSION = 1  # of the JSON; rescue.schema.json describes it
TABLES_SHOWN = 12
_LABEL = 29  # columns


@dataclass(frozen=True)
class Found:
    """A volume without a container."""

    volume: Volume
    look: Look
    origin: Origin | None
    anonymous: bool
    tables: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # by SQLite file


@dataclass(frozen=True)
class Ended:
    """A container that does not run, with data outside its volumes; `places` are where."""

    container: Container
    look: Look
    places: tuple[str, ...]


@dataclass(frozen=True)
class Offers:
    """What the commands that are offered have to heed: the engine that was asked, and which names
    are taken and which images are there."""

    address: tuple[str, ...]  # options of docker's and of ours alike
    volumes: frozenset[str]
    containers: frozenset[str]
    images: frozenset[str]

    def own(self, *words: str) -> str:
        """One of our commands on that engine."""
        verb, *rest = words
        return f"{own_command()} {shlex.join((verb, *self.address, *rest))}"

    def docker(self, *words: str) -> str:
        """One of docker's on that engine."""
        return shlex.join(("docker", *self.address, *words))

    def run(self, volume: str, origin: Origin | None, name: str = "") -> tuple[str, ...]:
        """How to have a container on a volume again, docker's words; () where nobody knows of what
        image."""
        if origin is None or not origin.image or not origin.target:
            return ()
        name = _free(origin.container or name or "rescued", self.containers, "-rescued")
        mount = f"{volume}:{origin.target}"
        return (*self.address, "run", "-d", "--name", name, "-v", mount, origin.image)

    def pulled(self, origin: Origin | None) -> str:
        """A note where the image is not here."""
        image = origin.image if origin else ""
        here = {image, f"{image}:latest", f"sha256:{image}"} & self.images
        return f"   (docker has to pull {image} first)" if image and not here else ""


def address(host: str | None, context: str | None) -> tuple[str, ...]:
    """The options that lead to the engine that was asked."""
    return (*(("-H", host) if host else ()), *(("-c", context) if context else ()))


def _free(name: str, taken: frozenset[str], end: str) -> str:
    """A name that is not taken: as it is, with an ending, with a number."""
    name = re.sub("[^a-zA-Z0-9_.-]", "-", name).lstrip("-_.") or "rescued"
    if name not in taken:
        return name
    name += end
    number = 2
    while (numbered := name if number == 2 else f"{name}-{number - 1}") in taken:
        number += 1
    return numbered


def listed(found: Sequence[Found], offers: Offers, now: datetime.datetime) -> Iterator[str]:
    """Each volume, those that nobody named first, the last written before others."""
    if not found:
        yield "no volume that is without a container holds data"
        return
    holding = sum(one.look.holds is Holds.DATA for one in found)
    yield f"{count(len(found), 'volume')} without a container, {holding} with data"
    for one in sorted(found, key=_order):
        yield ""
        yield clean(f"{to_type(one.volume.name)}  {_content(one, now)}")
        yield f"  {clean(_whose(one, now))}"
        for file, tables in sorted(one.tables.items()):
            shown = ", ".join(tables[:TABLES_SHOWN]) + (", ..." if tables[TABLES_SHOWN:] else "")
            yield f"  tables of {clean(file)}: {clean(shown) or 'none that can be read'}"
        for what, command in offers_of(one, offers).items():
            yield _offer(what, command)
        if not one.anonymous and one.volume.project:
            key = one.volume.labels.get(COMPOSE_VOLUME, one.volume.name)
            yield (
                f"  it is of a Compose project: `up` of {clean(one.volume.project)} takes it again "
                f"where the file still names {clean(key)}"
            )


def _order(one: Found) -> tuple[bool, float, str]:
    written = one.look.last_write.timestamp() if one.look.last_write else 0.0
    return not one.anonymous, -written, one.volume.name


def _content(one: Found, now: datetime.datetime) -> str:
    look, volume = one.look, one.volume
    if volume.elsewhere:
        return f"a reference: the data is in {volume.elsewhere}"
    if look.holds is Holds.EMPTY:
        return "empty"
    told = [look.content or "not looked into", size(look) if look.at_least else "size unknown"]
    if look.last_write:
        told.append(f"last write {ago(look.last_write, now)}")
    return ", ".join(told)


def _whose(one: Found, now: datetime.datetime) -> str:
    origin, kind = one.origin, "anonymous" if one.anonymous else "named"
    if origin is None:
        return f"{kind}; nothing tells which container it was of"
    image = f"image {origin.image}" if origin.image else ""
    at = f"at {origin.target}" if origin.target else ""
    fits = f"its content fits {image}, which keeps it {at}" if origin.guessed else ""
    if origin.trace is Trace.CONTENT:
        return f"{kind}; nothing tells which container it was of; {fits}"
    told = [
        f"it was container {origin.container}'s" if origin.container else "",
        "" if origin.guessed else image,
        "" if origin.guessed else at,
        f"project {origin.project}" if origin.project else "",
    ]
    when = ""
    if origin.at:
        when = f", {ago(datetime.datetime.fromtimestamp(origin.at, datetime.UTC), now)}"
    whose = f"{', '.join(filter(None, told))} (by {origin.trace.value}{when})"
    return f"{kind}; {whose}{'; ' + fits if fits else ''}"


def offers_of(one: Found, offers: Offers) -> dict[str, str]:
    """The commands that there are for a volume, by what they are for."""
    name, origin = one.volume.name, one.origin
    typed = to_type(name)
    told: dict[str, str] = {}
    if one.look.holds is not Holds.EMPTY and not one.volume.elsewhere:
        if one.anonymous:
            new = suggested(one, offers)
            told["give it a name"] = offers.own("rescue", "--name", new, typed)
        if run := offers.run(name, origin):
            told["use it as it is"] = f"{shlex.join(('docker', *run))}{offers.pulled(origin)}"
        told["back it up"] = offers.own("backup", typed)
    told["remove it, after a backup"] = offers.own("rescue", "--remove", typed)
    return told


def _offer(what: str, command: str) -> str:
    return f"  {(what + ':').ljust(_LABEL)}{clean(command)}"


def suggested(one: Found, offers: Offers) -> str:
    """A name for a volume: after its container, else after what is in it."""
    origin = one.origin
    base = (origin.container if origin else "") or one.look.content.partition(" ")[0].lower()
    return _free(f"{base or 'rescued'}-data", offers.volumes, "-rescued")


def named(one: Found, new: str, offers: Offers) -> Iterator[str]:
    """What to do with the copy, and with the old one."""
    if run := offers.run(new, one.origin, new):
        line = f"{shlex.join(('docker', *run))}{offers.pulled(one.origin)}"
        yield _offer("use it", line).strip()
    typed = to_type(one.volume.name)
    yield f"{short(one.volume.name)} is there still"
    yield _offer("remove it, after a backup", offers.own("rescue", "--remove", typed)).strip()


def stopped(found: Sequence[Ended], offers: Offers) -> Iterator[str]:
    """Containers that do not run, with data outside their volumes."""
    if not found:
        return
    yield ""
    yield f"{count(len(found), 'stopped container')} with data of its own, outside any volume"
    for one in found:
        container, look = one.container, one.look
        project = f", project {container.project}" if container.project else ""
        yield ""
        yield clean(
            f"{container.name}  {look.content}, {size(look)} ({container.image}, "
            f"{container.state}{project})"
        )
        if one.places:
            yield clean(f"  written in {', '.join(one.places)}")
        for what, command in offers_of_ended(one, offers).items():
            yield _offer(what, command)


def offers_of_ended(one: Ended, offers: Offers) -> dict[str, str]:
    """The commands that there are for a container, by what they are for."""
    name = one.container.name
    folder = f"{name}-files"
    copies = (offers.docker("cp", f"{name}:{place}", folder) for place in one.places)
    image = _free(f"{name.lower()}-saved", offers.images, "")
    told = {"back it up": offers.own("rescue", "--back-up", name)}
    if one.places:
        told["copy its files out"] = " && ".join((f"mkdir {shlex.quote(folder)}", *copies))
    told["start it again"] = offers.docker("start", name)
    told["keep it as an image"] = offers.docker("commit", name, image)
    return told


def backed_up(one: Container, saved: Backup) -> Iterator[str]:
    """What holds the container's files now."""
    yield f"the files of {clean(one.name)} and its definition are in the backup {saved.id}"
    yield f"once it is removed, to have it back: {own_command()} undo {saved.id}"


def removed(volume: Volume, saved: Backup) -> Iterator[str]:
    """What is gone, and how to have it back."""
    yield f"removed {short(volume.name)}; what it held is in the backup {saved.id}"
    yield f"to have it back: {own_command()} undo {saved.id}"


# for programs


def as_json(
    found: Sequence[Found], ended: Sequence[Ended], offers: Offers, engine: EngineIdentity
) -> dict[str, object]:
    """The same by rescue.schema.json."""
    return {
        "rescue": VERSION,
        "engine": {
            "name": engine.name,
            "id": engine.id,
            "host": engine.host,
            "version": engine.version,
        },
        "volumes": [
            {
                "name": one.volume.name,
                "anonymous": one.anonymous,
                **_seen(one.look),
                "elsewhere": one.volume.elsewhere,
                "project": one.volume.project,
                "origin": one.origin and _origin(one.origin),
                "tables": {file: list(tables) for file, tables in one.tables.items()},
                "offers": offers_of(one, offers),
            }
            for one in sorted(found, key=_order)
        ],
        "containers": [
            {
                "name": one.container.name,
                "id": one.container.id,
                "image": one.container.image,
                "state": one.container.state,
                "project": one.container.project,
                **_seen(one.look),
                "places": list(one.places),
                "offers": offers_of_ended(one, offers),
            }
            for one in ended
        ],
    }


def _seen(look: Look) -> dict[str, object]:
    return {
        "holds": look.holds.value,
        "content": look.content or None,
        "bytes": look.size,
        "at_least_bytes": look.at_least,
        "last_write": look.last_write.isoformat() if look.last_write else None,
    }


def _origin(origin: Origin) -> dict[str, object]:
    at = origin.at and datetime.datetime.fromtimestamp(origin.at, datetime.UTC).isoformat()
    return {
        "by": origin.trace.value,
        "container": origin.container or None,
        "image": origin.image or None,
        "target": origin.target or None,
        "project": origin.project,
        "at": at or None,
        "image_guessed": origin.guessed,
    }
