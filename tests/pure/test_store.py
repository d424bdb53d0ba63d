"""The store on real files: nothing half-written is a backup, whoever dies at whatever moment."""

import contextlib
import datetime
import errno
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from safedocker.backup import restores
from safedocker.backup.inventory import Inventory
from safedocker.backup.manifest import (
    Backup,
    Consistency,
    CrossCheck,
    Origin,
    Part,
    StoppedContainer,
    Stored,
    Use,
    dump,
    load,
)
from safedocker.backup.restores import Restore
from safedocker.backup.store import STORES, Claim, FolderStore
from safedocker.errors import SafedockerError
from safedocker.loss.plan import Kind

NOW = datetime.datetime(2026, 11, 23, 4, 59, 12, tzinfo=datetime.UTC)
CLAIM = Claim(NOW, ("docker", "volume", "rm", "db"), "a person")
STOPPED = (StoppedContainer("c0ffee", "web-1"), StoppedContainer("beef", "db-1"))
PIECES = [b"first", b"second" * 1000]


def a_backup(id_: str) -> Backup:
    part = Part(
        kind=Kind.NAMED_VOLUME,
        name="db",
        driver="local",
        options={"type": "tmpfs"},
        labels={"ü": "label"},
        used_by=(Use("web-1", "web:1", "/data", running=True),),
        content="PostgreSQL 15",
        way="archive",
        file=Stored("volume-1.tar.zst", 6005, "ab" * 32),
        inventory=Inventory(3, 1, 1, 1, 0, 12, 14, "cd" * 32, 999, 998, 0o700),
        consistency=Consistency.COLD_CLEAN,
        reached="stopped first",
        cross_check=CrossCheck.EQUAL,
        not_kept=("sockets",),
    )
    bare = replace(part, name="nfs", way="definition", file=None, inventory=None)
    return Backup(
        id=id_,
        taken_at=NOW,
        verified_at=NOW,
        safedocker="0.1.0",
        argv=("docker", "volume", "rm", "\udcff"),
        cwd="/somewhere/\udcfe",
        caller="a person",
        engine=Origin("box", "ID", "unix:///x", "26.1.5"),
        form="volume-rm",
        project=None,
        stopped=STOPPED,
        parts=(part, bare),
    )


@pytest.fixture(params=STORES, ids=lambda row: row.__name__)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> FolderStore:
    made = request.param(tmp_path / "deep" / "backups")
    assert isinstance(made, FolderStore)
    return made


@pytest.fixture
def root(store: FolderStore) -> Path:
    return Path(store.where)


def committed(store: FolderStore, at: datetime.datetime = NOW) -> Backup:
    draft = store.begin(replace(CLAIM, at=at))
    draft.put("volume-1.tar.zst", PIECES)
    backup = replace(a_backup(draft.id), taken_at=at)
    draft.commit(backup)
    return backup


def test_manifest_gives_back_what_was_written() -> None:
    backup = a_backup("20261123-045912-k3f9")
    text = dump(backup)
    assert load(text, "manifest.json") == backup
    assert text.isascii()
    assert json.loads(text)["manifest"] == 1


def test_commit_makes_a_backup_and_nothing_before_it_does(store: FolderStore) -> None:
    draft = store.begin(CLAIM)
    assert draft.put("volume-1.tar.zst", PIECES) == 6005
    assert b"".join(draft.open("volume-1.tar.zst")) == b"".join(PIECES)
    assert store.list().backups == ()
    with pytest.raises(SafedockerError, match="no backup"):
        store.get(draft.id)
    backup = a_backup(draft.id)
    draft.commit(backup)
    assert store.get(draft.id) == backup
    assert store.list().backups == (backup,)
    assert b"".join(store.open(draft.id, "volume-1.tar.zst")) == b"".join(PIECES)
    assert store.sweep() == ()
    assert store.list().backups == (backup,)


def test_ids_sort_by_time_and_the_newest_comes_first(store: FolderStore) -> None:
    hours = [datetime.timedelta(hours=n) for n in (3, 1, 2)]
    made = {hour: committed(store, NOW + hour).id for hour in hours}
    listed = [backup.id for backup in store.list().backups]
    assert listed == sorted(made.values(), reverse=True)
    assert listed == [made[hour] for hour in sorted(hours, reverse=True)]


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o277])
def test_files_are_private_whatever_the_umask(store: FolderStore, root: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        backup = committed(store)
        restores.write(store, backup.id, [Restore("ID", "db", done=True)])
    finally:
        os.umask(before)
    for path in [root.parent, root, *root.rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path
    assert store.list().backups == (backup,)


def test_discard_leaves_nothing(store: FolderStore, root: Path) -> None:
    draft = store.begin(CLAIM)
    draft.put("volume-1.tar.zst", PIECES)
    draft.discard()
    assert [path.name for path in root.iterdir()] == ["lock"]
    assert store.sweep() == ()


def test_part_that_fails_leaves_no_part(store: FolderStore, root: Path) -> None:
    def breaks() -> Iterator[bytes]:
        yield b"some"
        raise OSError(errno.EPIPE, "the engine hung up")

    draft = store.begin(CLAIM)
    with pytest.raises(OSError, match="hung up"):
        draft.put("volume-1.tar.zst", breaks())
    assert [path.name for path in (root / draft.id).iterdir()] == ["claim"]
    draft.discard()


# Damage


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda text: text[: len(text) // 2],
    "empty": lambda text: b"",
    "foreign": lambda text: b'{"name": "package"}',
    "list": lambda text: b"[]",
    "binary": lambda text: b"\xff\xfe\x00",
    "newer": lambda text: text.replace(b'"manifest": 1', b'"manifest": 99'),
    "older": lambda text: text.replace(b'"manifest": 1', b'"manifest": 0'),
    "wrong-type": lambda text: text.replace(b'"bytes": 6005', b'"bytes": "6005"'),
    "outside": lambda text: text.replace(b"volume-1.tar.zst", b"../../etc/passwd"),
    "word": lambda text: text.replace(b'"cold-clean"', b'"lukewarm"'),
    "no-zone": lambda text: text.replace(b"04:59:12+00:00", b"04:59:12"),
    "no-parts": lambda text: text.replace(b'"parts"', b'"pieces"'),
    "deep": lambda text: b"[" * 100_000,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_manifest_is_named_and_hides_no_other(
    store: FolderStore, root: Path, damage: Callable[[bytes], bytes]
) -> None:
    whole, broken = committed(store), committed(store)
    file = root / broken.id / "manifest.json"
    text = damage(file.read_bytes())
    assert text != file.read_bytes()
    file.write_bytes(text)
    with pytest.raises(SafedockerError) as caught:
        store.get(broken.id)
    assert str(file) in caught.value.message
    assert caught.value.hint
    listing = store.list()
    assert listing.backups == (whole,)
    assert [one.id for one in listing.damaged] == [broken.id]
    assert store.sweep() == ()
    assert file.exists()


def test_newer_manifest_asks_for_an_update(store: FolderStore, root: Path) -> None:
    backup = committed(store)
    file = root / backup.id / "manifest.json"
    file.write_bytes(DAMAGE["newer"](file.read_bytes()))
    with pytest.raises(SafedockerError, match="newer safedocker") as caught:
        store.get(backup.id)
    assert "update" in caught.value.hint


@pytest.mark.parametrize("id_", ["20261123-045912-zzzz", "", "..", "../..", "lock", "\udcff"])
def test_unknown_id_is_told_and_never_a_path(store: FolderStore, id_: str) -> None:
    committed(store)
    with pytest.raises(SafedockerError, match="no backup") as caught:
        store.get(id_)
    assert "safedocker backups" in caught.value.hint
    with pytest.raises(SafedockerError):
        store.delete(id_)


def test_copied_folder_is_a_backup_elsewhere(
    store: FolderStore, root: Path, tmp_path: Path
) -> None:
    backup = committed(store)
    elsewhere = tmp_path / "stick"
    elsewhere.mkdir()
    subprocess.run(["cp", "-r", root / backup.id, elsewhere / backup.id], check=True)
    copy = FolderStore(elsewhere)
    assert copy.list().backups == (backup,)
    with copy.hold(backup.id):
        assert b"".join(copy.open(backup.id, "volume-1.tar.zst")) == b"".join(PIECES)
    (elsewhere / backup.id).rename(elsewhere / "20200101-000000-aaaa")
    with pytest.raises(SafedockerError) as caught:
        copy.get("20200101-000000-aaaa")
    assert backup.id in caught.value.hint


def test_empty_store_is_empty(store: FolderStore, root: Path) -> None:
    assert store.list().backups == ()
    assert store.sweep() == ()
    assert (store.free_bytes() or 0) > 0
    assert not root.exists()


# Undo's journal, holding, deleting


def test_restore_journal_is_replaced_whole(store: FolderStore, root: Path) -> None:
    id_ = committed(store).id
    assert restores.read(store, id_) == ()
    begun = Restore("ID", "db", done=False)
    restores.write(store, id_, [begun])
    restores.write(store, id_, [replace(begun, done=True), begun])
    assert restores.read(store, id_) == (replace(begun, done=True), begun)
    (root / id_ / "restore.json").write_text("{")
    assert restores.read(store, id_) == ()


def test_backup_that_is_worked_on_is_not_deleted(store: FolderStore) -> None:
    backup = committed(store)
    with store.hold(backup.id):
        other = FolderStore(Path(store.where))
        with pytest.raises(SafedockerError, match="another process"), other.hold(backup.id):
            pass
        with pytest.raises(SafedockerError, match="another process"):
            other.delete(backup.id)
    store.delete(backup.id)
    assert store.list().backups == ()
    with pytest.raises(SafedockerError, match="no backup"):
        store.delete(backup.id)


def test_damaged_backup_can_be_deleted(store: FolderStore, root: Path) -> None:
    backup = committed(store)
    (root / backup.id / "manifest.json").write_text("{")
    store.delete(backup.id)
    assert store.list().damaged == ()


# Death

STEPS = (
    "begun",
    "stopping",
    "half a part",
    "a part",
    "half a manifest",
    "committed",
)

DIES = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
from safedocker.backup import store as module
from tests.pure.test_store import CLAIM, PIECES, STOPPED, a_backup
step = sys.argv[2]
def dies():
    os.kill(os.getpid(), signal.SIGKILL)
def pieces(which):
    yield PIECES[0]
    if step == which:
        dies()
    yield PIECES[1]
draft = module.FolderStore(Path(sys.argv[1])).begin(CLAIM)
if step == "begun":
    dies()
draft.note_stopping("box", STOPPED)
if step == "stopping":
    dies()
draft.put("volume-1.tar.zst", pieces("half a part"))
if step == "a part":
    dies()
if step == "half a manifest":
    module.dump = lambda backup: dies()
draft.commit(a_backup(draft.id))
dies()
"""


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_step_is_swept_and_told(store: FolderStore, root: Path, step: str) -> None:
    other = committed(store)
    ended = python(DIES, root, step)
    assert ended.returncode == -signal.SIGKILL
    told = store.sweep()
    if step == "committed":  # whole, but the command that was to follow never ran
        assert [claim.stopped for claim in told] == [STOPPED]
        assert len(store.list().backups) == 2
        assert store.sweep() == ()
        return
    (abandoned,) = told
    assert abandoned.argv == CLAIM.argv
    assert abandoned.at == NOW.isoformat()
    assert abandoned.pid > 0
    assert abandoned.host
    assert abandoned.stopped == (() if step == "begun" else STOPPED)
    assert store.list().backups == (other,)
    assert {path.name for path in root.iterdir()} == {"lock", other.id}
    assert store.sweep() == ()


def test_containers_that_run_again_are_not_told(store: FolderStore) -> None:
    draft = store.begin(CLAIM)
    draft.note_stopping("box", STOPPED)
    draft.note_started()
    draft.abandon()
    (abandoned,) = store.sweep()
    assert abandoned.stopped == ()


def test_journal_cut_in_the_middle_of_a_line_is_read_to_there(
    store: FolderStore, root: Path
) -> None:
    draft = store.begin(CLAIM)
    draft.note_stopping("box", STOPPED)
    draft.abandon()
    with (root / draft.id / "claim").open("a") as claim:
        claim.write('{"stopping": [')
    (abandoned,) = store.sweep()
    assert abandoned.stopped == STOPPED
    assert abandoned.engine == "box"


def test_folder_without_a_claim_is_swept(store: FolderStore, root: Path) -> None:
    committed(store)
    (root / "20261123-045912-aaaa").mkdir()
    (abandoned,) = store.sweep()
    assert abandoned.id == "20261123-045912-aaaa"
    assert abandoned.stopped == ()


def test_draft_of_a_living_process_is_left_alone(store: FolderStore) -> None:
    draft = store.begin(CLAIM)
    assert FolderStore(Path(store.where)).sweep() == ()
    draft.put("volume-1.tar.zst", PIECES)
    draft.commit(a_backup(draft.id))
    assert len(store.list().backups) == 1


def test_what_is_not_ours_in_the_folder_stays(store: FolderStore, root: Path) -> None:
    committed(store)
    (root / "notes").mkdir()
    (root / "README").write_text("mine")
    store.sweep()
    assert (root / "notes").is_dir()
    assert (root / "README").read_text() == "mine"
    assert len(store.list().backups) == 1


CROWD = """
import sys
from pathlib import Path
from safedocker.backup.store import FolderStore
from tests.pure.test_store import CLAIM, PIECES, a_backup
store = FolderStore(Path(sys.argv[1]))
for number in range(6):
    draft = store.begin(CLAIM)
    assert store.sweep() == (), "a living draft was swept"
    draft.put("volume-1.tar.zst", PIECES)
    if number % 3 == 2:
        draft.discard()
    else:
        draft.commit(a_backup(draft.id))
        print(draft.id)
        if number % 3 == 1:
            store.delete(draft.id)
"""


def test_eight_processes_at_once_leave_a_consistent_store(store: FolderStore, root: Path) -> None:
    running = [
        subprocess.Popen(
            [sys.executable, "-c", CROWD, str(root)],
            stdout=subprocess.PIPE,
            text=True,
            env=from_here(),
        )
        for _ in range(8)
    ]
    said = [one.communicate(timeout=120)[0].split() for one in running]
    assert [one.returncode for one in running] == [0] * 8
    ids = [id_ for ids in said for id_ in ids]
    assert len(ids) == len(set(ids)) == 8 * 4
    listing = store.list()
    assert {one.id for one in listing.backups} == {id_ for ids in said for id_ in ids[::2]}
    assert listing.damaged == ()
    assert {path.name for path in root.iterdir()} == {"lock", *(b.id for b in listing.backups)}


# A disk that says no


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root may mount a small disk")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_full_disk_leaves_no_part_and_clears_up(small_disk: Path) -> None:
    store = FolderStore(small_disk / "backups")
    other = committed(store)
    draft = store.begin(CLAIM)
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the number is what counts
        draft.put("volume-1.tar.zst", [bytes(100_000)] * 50)
    assert caught.value.errno == errno.ENOSPC
    draft.discard()
    assert store.list().backups == (other,)
    assert {path.name for path in Path(store.where).iterdir()} == {"lock", other.id}
    assert (store.free_bytes() or 0) > 900_000


def test_disk_without_room_for_a_claim_is_told(small_disk: Path) -> None:
    store = FolderStore(small_disk / "backups")
    committed(store)
    with contextlib.suppress(OSError), (small_disk / "filler").open("wb", buffering=0) as filler:
        while filler.write(bytes(4096)):
            pass
    with pytest.raises(SafedockerError, match="can't be written"):
        store.begin(CLAIM)
    assert store.sweep() == ()


def test_read_only_disk_is_told_and_still_read(small_disk: Path) -> None:
    store = FolderStore(small_disk / "backups")
    backup = committed(store)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(SafedockerError, match="can't be written") as caught:
        store.begin(CLAIM)
    assert str(small_disk) in caught.value.message
    assert store.sweep() == ()
    assert store.list().backups == (backup,)
    with pytest.raises(SafedockerError, match="can't be deleted"):
        store.delete(backup.id)
    with store.hold(backup.id):
        assert b"".join(store.open(backup.id, "volume-1.tar.zst")) == b"".join(PIECES)
        with pytest.raises(OSError, match="Read-only"):
            restores.write(store, backup.id, [])


def test_place_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = FolderStore(tmp_path / "file" / "backups")
    with pytest.raises(SafedockerError, match="can't be written"):
        store.begin(CLAIM)
    assert store.list().backups == ()


def from_here() -> dict[str, str]:
    """The environment of a process that imports the package and the tests."""
    return {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}


def python(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=from_here(),
    )


def test_a_settled_backup_tells_of_no_stopped_container(store: FolderStore) -> None:
    draft = store.begin(CLAIM)
    draft.note_stopping("box", STOPPED)
    draft.commit(a_backup(draft.id))
    store.settle(draft.id)
    assert store.sweep() == ()
    assert [backup.id for backup in store.list().backups] == [draft.id]


def test_of_two_backups_of_one_second_the_later_is_the_newest(store: FolderStore) -> None:
    made = [
        committed(store, NOW + datetime.timedelta(microseconds=number)).id for number in range(8)
    ]
    assert [backup.id for backup in store.list().backups] == made[::-1]


@pytest.mark.parametrize("claim", [True, False], ids=["as-it-was-made", "copied-without-its-claim"])
def test_many_read_one_undoes_and_nobody_deletes_meanwhile(
    store: FolderStore, root: Path, monkeypatch: pytest.MonkeyPatch, claim: bool
) -> None:
    monkeypatch.setattr("safedocker.backup.store._PATIENCE", 0.0)
    id_ = committed(store).id
    if not claim:
        (root / id_ / "claim").unlink()
    with store.reading(id_), store.reading(id_), pytest.raises(SafedockerError, match="another"):
        store.delete(id_)
    with store.hold(id_):
        with pytest.raises(SafedockerError, match="another process"), store.hold(id_):
            pass
        with pytest.raises(SafedockerError, match="another process"):
            store.delete(id_)
        assert store.sweep() == ()
    store.delete(id_)
    with pytest.raises(SafedockerError, match="there is no backup"), store.reading(id_):
        pass
