"""Which images go: by name, by id, or because nothing uses them. Pure.

Follows the engine's own store of images; containerd's (29 by default) keeps no parents, and then
the same rules hold. All of it can be pulled or built again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from safedocker.command.parse import Command
from safedocker.errors import WouldFail
from safedocker.loss import filters
from safedocker.loss.facts import Container, Facts, Image
from safedocker.loss.filters import Filters
from safedocker.loss.plan import Kind, Loss

KEYS = frozenset(("label", "label!", "until", "dangling"))


def removed(command: Command, facts: Facts) -> tuple[Loss, ...]:
    """What `image rm` and `image prune` take. Raise WouldFail where filters are refused."""
    if command.path == ("image", "rm"):
        return _named(command, facts)
    chosen = filters.in_force(command, facts)
    filters.check(chosen, KEYS)
    everything = command.on("all")
    if {value for key, value in chosen if key == "dangling"} - {str(not everything).lower()}:
        raise WouldFail("the client adds a filter of that name, and two can't differ")
    before = filters.until(chosen, facts)
    return unused(facts, (), chosen, before, everything)


def build_cache() -> tuple[Loss, ...]:
    """Records of build cache. Which of them are unused only the builder knows."""
    return (Loss(Kind.BUILD_CACHE, "build cache", None, "records that no build uses"),)


def unused(
    facts: Facts,
    gone: Sequence[Container],
    chosen: Filters,
    before: float | None,
    everything: bool,
) -> tuple[Loss, ...]:
    """The images that a prune removes once the containers `gone` are: dangling ones without
    children, or with `everything` all that no container uses.

    Source: moby daemon/images/image_prune.go ImagesPrune.
    """
    dropped = {container.id for container in gone}
    store = _Store(facts, [c for c in facts.containers if c.id not in dropped])
    for image in facts.images:
        if image.id not in store.images or (before is not None and image.created >= before):
            continue
        if not filters.passes(chosen, image.labels):
            continue
        if store.used(image.id) or (not image.names and store.children(image.id)):
            continue
        if everything or not image.names:
            store.delete(image.id, force=False)
    return tuple(_loss(image, "unused") for image in store.gone)


def _named(command: Command, facts: Facts) -> tuple[Loss, ...]:
    """Source: moby daemon/images/image_delete.go ImageDelete."""
    store = _Store(facts, facts.containers)
    for operand in command.operands:
        store.remove(operand, force=command.on("force"), prunes=not command.on("no-prune"))
    return tuple(_loss(image, "named in the command") for image in store.gone)


def of_down(names: Iterable[str], facts: Facts, gone: Iterable[Container]) -> tuple[Loss, ...]:
    """What goes of the images of these names once the containers `gone` are."""
    dropped = {container.id for container in gone}
    store = _Store(facts, [c for c in facts.containers if c.id not in dropped])
    for name in names:
        store.remove(name, force=False, prunes=True)
    return tuple(_loss(image, "the image of a service") for image in store.gone)


def _loss(image: Image, why: str) -> Loss:
    name = image.names[0] if image.names else image.id.removeprefix("sha256:")[:12]
    return Loss(Kind.IMAGE, name, None, why, id=image.id, size=image.size, at_least=image.size)


class _Store:
    """The images as they stand while a command takes one after the other."""

    def __init__(self, facts: Facts, containers: Iterable[Container]) -> None:
        self.images = {image.id: image for image in facts.images}
        self.names = {image.id: list(image.names) for image in facts.images}
        self.gone: list[Image] = []
        self._containers = tuple(containers)

    def used(self, id_: str, *, running: bool = False) -> bool:
        """Does a container use it, or one that runs?"""
        return any(c.image_id == id_ and (c.running or not running) for c in self._containers)

    def children(self, id_: str) -> bool:
        """Is another image built on it?"""
        return any(image.parent == id_ for image in self.images.values())

    def remove(self, operand: str, *, force: bool, prunes: bool) -> None:
        """One operand of `image rm`; nothing where the engine refuses."""
        name = full_name(operand)
        by_name = next((id_ for id_, names in self.names.items() if name in names), None)
        if by_name is not None:
            names = self.names[by_name]
            if len(names) == 1 and not force and self.used(by_name):
                return
            names.remove(name)
            if not names:
                self.delete(by_name, force=force, prunes=prunes)
            return
        digits = operand.removeprefix("sha256:")
        found = [id_ for id_ in self.images if digits and id_[7:].startswith(digits)]
        if len(found) != 1:
            return
        (id_,) = found
        repositories = {name.rpartition(":")[0] for name in self.names[id_]}
        if len(repositories) > 1 and not force:
            return
        if self._conflict(id_, force):
            return
        self.names[id_].clear()
        self.delete(id_, force=force, prunes=prunes)

    def delete(self, id_: str, *, force: bool, prunes: bool = True) -> None:
        """Remove an image and, `prunes`, its parents that nothing else holds.

        Source: imageDeleteHelper.
        """
        if self._conflict(id_, force):
            return
        image = self.images.pop(id_)
        self.names.pop(id_, None)
        self.gone.append(image)
        if prunes and image.parent in self.images and not self.names[image.parent]:
            self.delete(image.parent, force=False)

    def _conflict(self, id_: str, force: bool) -> bool:
        return self.children(id_) or self.used(id_, running=True) or (not force and self.used(id_))


def full_name(operand: str) -> str:
    """An image's name as the engine lists it: with its tag, without the default registry.

    Source: distribution/reference normalize.go.
    """
    name = operand
    for prefix in ("docker.io/", "index.docker.io/"):
        name = name.removeprefix(prefix)
    name = name.removeprefix("library/")
    last = name.rpartition("/")[2]
    return name if ":" in last or "@" in name else f"{name}:latest"
