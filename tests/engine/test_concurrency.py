"""Many at once: eight processes back up, remove and undo, beside others that look and let go."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from safedocker.backup.notes import Found
from safedocker.backup.store import FolderStore
from safedocker.backup.take import silent
from safedocker.backup.verify import verify
from tests.engine.test_take import NOW, client, store
from tests.engines import PrivateEngine

pytestmark = pytest.mark.engine
__all__ = ["client", "store"]  # fixtures

PROCESSES = 8
ROUNDS = 13  # each: a hundred and four backups and as many undos

WORKS = """
import datetime, sys
from pathlib import Path
from safedocker.backup import expire, notes
from safedocker.backup.store import FolderStore
from safedocker.backup.take import Calm, Occasion, keep, silent
from safedocker.backup.undo import undo
from safedocker.backup.verify import verify
from safedocker.edge.address import Address
from safedocker.edge.engine import Engine
from safedocker.loss.facts import Volume
from safedocker.loss.plan import Kind, Loss
socket, place, me, rounds = sys.argv[1:]
store = FolderStore(Path(place))
occasion = Occasion(("docker", "volume", "rm"), "/", "a test", "volume-rm", None)
with Engine(Address(f"unix://{socket}", "a test", "default", None, False)) as engine:
    for number in range(int(rounds)):
        now = datetime.datetime.now(datetime.UTC)
        assert store.sweep() == ()
        if number % 4 == 0:
            engine.sweep()
        name = f"data-{me}-{number}"
        engine.create_volume(Volume(name, "local", {}, {"by": me}, ""))
        volume = engine.volume(name)
        Path(volume.mountpoint, "file").write_text(name * 1000)
        loss = Loss(Kind.NAMED_VOLUME, name, volume, "named")
        backup = keep((loss,), Calm(), engine, store, occasion, silent, now, reserve=0)
        engine.remove_volume(name)
        undo(backup, engine, store, progress=silent, now=now, reserve=0)
        assert Path(engine.volume(name).mountpoint, "file").read_text() == name * 1000
        if number % 3 == 0:
            check = verify(backup, store, silent, now)
            assert check.well
            notes.write_check(store, backup.id, check)
        elif number % 3 == 1:
            notes.pin(store, backup.id, now)
        else:
            store.delete(backup.id)
        store.list()
"""


def test_a_hundred_backups_and_undos_by_eight_processes_leave_a_whole_store(
    engine26: PrivateEngine, store: FolderStore
) -> None:
    with engine26.swept():
        before = engine26.holdings()
        environ = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
        workers = [
            subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    WORKS,
                    *map(str, (engine26.socket, store.where, me, ROUNDS)),
                ],
                env=environ,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for me in range(PROCESSES)
        ]
        said = [worker.communicate(timeout=300)[0] for worker in workers]
        assert [worker.returncode for worker in workers] == [0] * PROCESSES, "\n".join(said)
        after = engine26.holdings()
        assert {word: after[word] - before[word] for word in ("container", "image")} == {
            "container": set(),
            "image": set(),
        }
        assert len(after["volume"] - before["volume"]) == PROCESSES * ROUNDS
        listing = store.list()
        assert listing.damaged == ()
        deleted = PROCESSES * len([number for number in range(ROUNDS) if number % 3 == 2])
        assert len(listing.backups) == PROCESSES * ROUNDS - deleted
        for backup in listing.backups:
            (part,) = verify(backup, store, silent, NOW).parts
            assert part.found is Found.WHOLE
            folder = {path.name for path in Path(store.where, backup.id).iterdir()}
            assert folder - {"check.json", "kept.json"} == {
                "claim",
                "manifest.json",
                "restore.json",
                "volume-1.tar.zst",
            }
        names = {path.name for path in Path(store.where).iterdir()}
        assert names == {"lock", *(backup.id for backup in listing.backups)}
