"""Backups never live inside what a command removes: does the store lie in one of the volumes, or in
a container's own files? Told by its path, and by what is mounted there, as safedocker may itself
run in a container."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from safedocker.backup.store import FolderStore
from safedocker.backup.ways import Engine
from safedocker.errors import NoBackup, SafedockerError
from safedocker.loss.facts import Volume
from safedocker.loss.plan import Kind, Loss


def check(losses: Iterable[Loss], store: FolderStore, engine: Engine | None) -> None:
    """Raise NoBackup when the store would go with one of the losses."""
    places = [f"{place.rstrip('/')}/" for place in store.places()]
    for loss in losses:
        for inside in _insides(loss, engine):
            if any(_below(place, inside) for place in places):
                what = "container" if loss.kind is Kind.LAYER else "volume"
                raise NoBackup(
                    f"the backups lie in {store.where}, which is inside the {what} {loss.name} "
                    "that would go: nothing was removed",
                    "move that folder to another place first, and set XDG_DATA_HOME to it",
                )


def _below(place: str, inside: str) -> bool:
    """A path, or the end of one as another system may have it mounted: "volumes/db/_data"."""
    return place.startswith(f"{inside}/") if inside.startswith("/") else f"/{inside}/" in place


def _insides(loss: Loss, engine: Engine | None) -> Iterator[str]:
    """The folders that go with a loss, as the engine's host calls them."""
    volume = loss.volume
    if volume is not None and volume.mountpoint and not volume.elsewhere:
        yield volume.mountpoint.rstrip("/")
        yield from _tail(volume)
    if loss.kind is Kind.LAYER and engine is not None:
        try:
            definition = engine.definition(loss.id)
        except SafedockerError:  # gone meanwhile: whoever takes it says so
            return
        driver = definition.get("GraphDriver") or {}
        upper = (driver.get("Data") or {}).get("UpperDir")
        if isinstance(upper, str) and upper.startswith("/"):
            yield upper.rstrip("/")


def _tail(volume: Volume) -> Iterator[str]:
    tail = f"volumes/{volume.name}/_data"
    if volume.mountpoint.rstrip("/").endswith(f"/{tail}"):
        yield tail
