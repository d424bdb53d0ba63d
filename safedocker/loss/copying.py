"""What `cp` writes over: which end is a container's, where each file of the source lands. Pure.

Source: docker/cli cli/command/container/cp.go, moby pkg/archive/copy.go PrepareArchiveCopy.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from safedocker.errors import WouldFail
from safedocker.loss.facts import Overwritten
from safedocker.loss.plan import Kind, Loss

SHOWN = 3  # files that are named


@dataclass(frozen=True)
class End:
    """One operand: a path of this machine, where `container` is "", or of a container."""

    container: str
    path: str

    @property
    def stream(self) -> bool:
        """Is it standard input, or output?"""
        return not self.container and self.path == "-"

    @property
    def contents(self) -> bool:
        """Of a folder: is what is in it meant, and not the folder?"""
        return self.path == "." or self.path.endswith("/.")

    @property
    def base(self) -> str:
        """The name that the source keeps in a folder it is copied to."""
        return os.path.basename(os.path.normpath(self.path))


@dataclass(frozen=True)
class Place:
    """What stands at a path."""

    there: bool
    folder: bool = False


def ends(operands: Sequence[str]) -> tuple[End, End]:
    """The source and the destination. Raise WouldFail for what Docker refuses."""
    if len(operands) != 2 or not all(operands):
        raise WouldFail("docker cp takes a source and a destination")
    source, destination = map(_end, operands)
    if bool(source.container) == bool(destination.container):
        raise WouldFail("docker cp takes one path of a container, and one that is not")
    return source, destination


def _end(operand: str) -> End:
    """Source: docker/cli cli/command/container/cp.go splitCpArg."""
    container, colon, path = operand.partition(":")
    if operand.startswith("/") or not colon or container.startswith("."):
        return End("", operand)
    return End(container, path)


def root(source: End, what: Place, destination: End, there: Place) -> str | None:
    """Where the source lands: the path that its file is written to, or at which its folder's
    contents are merged; None where nothing stands. Raise WouldFail for what Docker refuses."""
    if not what.there:
        raise WouldFail(f"{source.path} is not there")
    if not there.there:
        return None
    if not there.folder:
        if what.folder or destination.path.endswith("/"):
            raise WouldFail("a folder can't be copied onto a file")
        return destination.path
    if what.folder and source.contents:
        return destination.path
    return os.path.join(destination.path, source.base)


def losses(overwritten: Sequence[Overwritten]) -> list[Loss]:
    """The files that are written over, as one loss: what weighs is all of them together."""
    if not overwritten:
        return []
    sizes = [one.size for one in overwritten]
    known = [size for size in sizes if size is not None]
    content = next((one.content for one in overwritten if one.content), "files")
    places = [one.place for one in overwritten]
    name = places[0] if len(places) == 1 else _folder(places)
    why = "it is written over"
    if len(places) > 1:
        shown = ", ".join(place.removeprefix(name).lstrip("/") for place in places[:SHOWN])
        more = f" and {len(places) - SHOWN} more" if len(places) > SHOWN else ""
        why = f"{len(places)} files in it are written over: {shown}{more}"
    size = sum(known) if len(known) == len(sizes) else None
    return [Loss(Kind.FILE, name, None, why, size=size, at_least=sum(known), content=content)]


def _folder(places: Sequence[str]) -> str:
    """The folder that all of them are in; they begin alike, with a container's name or none."""
    return os.path.commonpath([os.path.dirname(place) for place in places])
