"""Where a volume without a container comes from: the traces that were found, weighed. Pure."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from safedocker.loss import databases
from safedocker.loss.facts import Image, Volume


class Trace(enum.Enum):
    """What tells where a volume comes from, in the order in which it is believed."""

    AUDIT = "safedocker's audit"
    BACKUP = "a backup of safedocker's"
    EVENTS = "the engine's last events"
    LABELS = "its labels"
    CONTENT = "its content"


@dataclass(frozen=True)
class Origin:
    """The container that had a volume, as far as a trace tells."""

    trace: Trace
    container: str = ""
    image: str = ""
    target: str = ""
    project: str | None = None
    at: float | None = None  # seconds since the epoch; when the trace was left
    guessed: bool = False  # the image is one that fits the content, and may be another


@dataclass(frozen=True)
class Traces:
    """The traces by the volumes' names; and the images that are here, with the places where they
    declare volumes."""

    audit: Mapping[str, Origin] = field(default_factory=dict)
    backups: Mapping[str, Origin] = field(default_factory=dict)
    events: Mapping[str, Origin] = field(default_factory=dict)
    images: Mapping[str, frozenset[str]] = field(default_factory=dict)  # by name


def origin(volume: Volume, content: str, traces: Traces) -> Origin | None:
    """Where a volume comes from: of each thing the first trace that tells it. None: nobody knows.

    The guess by its content tells an image and a target only where no other trace does.
    """
    found = [
        told[volume.name]
        for told in (traces.audit, traces.backups, traces.events)
        if volume.name in told
    ]
    if volume.project:
        found.append(Origin(Trace.LABELS, project=volume.project))
    if guessed := _guess(content, traces.images):
        found.append(guessed)
    if not found:
        return None
    whole = found[0]
    for other in found[1:]:
        whole = replace(
            whole,
            container=whole.container or other.container,
            image=whole.image or other.image,
            target=whole.target or other.target,
            project=whole.project or other.project,
            guessed=whole.guessed or (not whole.image and other.guessed),
        )
    return whole


def _guess(content: str, images: Mapping[str, frozenset[str]]) -> Origin | None:
    """An image that is here, of the kind and if it can be had of the version, and its VOLUME."""
    kin = databases.of_content(content)
    if kin is None:
        return None
    version = content.rpartition(" ")[2] if " " in content else ""
    fits = []
    for name, declared in images.items():
        repository, _, tag = name.rpartition("/")[2].partition(":")
        if repository.startswith(kin.images):
            same = bool(version) and re.match(rf"{re.escape(version)}(?!\d)", tag) is not None
            fits.append((not same, name, declared))
    if not fits or (version and fits and min(fits)[0]):
        return None  # another version of a database does not start with these files
    _, name, declared = min(fits, key=lambda fit: fit[:2])
    target = kin.data if kin.data in declared or len(declared) != 1 else next(iter(declared))
    return Origin(Trace.CONTENT, image=name, target=target, guessed=True)


def likely(images: Iterable[Image], contents: Iterable[str]) -> tuple[str, ...]:
    """The names of the images that may hold one of these contents: those worth a question."""
    kins = [kin for content in contents if (kin := databases.of_content(content))]
    wanted = tuple(one for kin in kins for one in kin.images)
    names = [name for image in images for name in image.names]
    return (
        tuple(n for n in sorted(names) if n.rpartition("/")[2].startswith(wanted)) if wanted else ()
    )
