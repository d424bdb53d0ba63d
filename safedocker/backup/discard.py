"""Removes a volume that no container has, after a backup of it that was read back and compared."""

from __future__ import annotations

import datetime

from safedocker.backup import stillness
from safedocker.backup.manifest import Backup
from safedocker.backup.store import FolderStore
from safedocker.backup.take import Calm, Occasion, Progress, keep
from safedocker.backup.ways import Engine
from safedocker.errors import SafedockerError
from safedocker.loss.plan import Loss


def discard(
    loss: Loss,
    engine: Engine,
    store: FolderStore,
    occasion: Occasion,
    progress: Progress,
    now: datetime.datetime,
) -> Backup:
    """Back up the volume and remove it; return the backup. Raise SafedockerError, with the volume
    left as it is, when a container has it, before or by then."""
    _check_unused(loss.name, engine)
    saved = keep((loss,), Calm(), engine, store, occasion, progress, now)
    _check_unused(loss.name, engine)
    engine.remove_volume(loss.name)
    return saved


def _check_unused(name: str, engine: Engine) -> None:
    _volumes, containers = engine.snapshot()
    having = ", ".join(one.name for one in stillness.users(name, containers))
    if having:
        raise SafedockerError(
            f"the volume {name} belongs to {having}: nothing was removed",
            "what no container has is listed by: safedocker rescue",
        )
