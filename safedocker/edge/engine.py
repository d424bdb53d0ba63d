"""The engine: what it holds, what is in its volumes, and their bytes out and in.

No rule is decided here. How it is spoken to is wire.py's, how bytes are carried is porter.py's.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from safedocker.edge import answers, heirs, swarm, weights
from safedocker.edge import look as inside
from safedocker.edge.address import Address, identify
from safedocker.edge.container import (
    ImageLabels,
    Maker,
    inspect_container,
    read_layer,
)
from safedocker.edge.direct import Direct
from safedocker.edge.execution import Execution, execute
from safedocker.edge.host import Host
from safedocker.edge.ids import find_remap, of_containers
from safedocker.edge.layer import changed, look_into_layer
from safedocker.edge.mover import Mover
from safedocker.edge.porter import BUSY, Porter, find_volume
from safedocker.edge.running import Runner, Stopped, find_container, removes_itself
from safedocker.edge.tarring import Tar, Tarrer
from safedocker.edge.traces import Traces
from safedocker.edge.trial import Trials
from safedocker.edge.wire import Wire
from safedocker.errors import NoEngine, SafedockerError
from safedocker.loss.facts import (
    ANONYMOUS,
    Container,
    Holds,
    Image,
    Look,
    Mount,
    Plugin,
    Swarm,
    Volume,
)
from safedocker.loss.storage import Weights

LOOKERS = 4  # volumes looked into at the same time
WALK = 0.3  # seconds after which the engine's own count of a volume is asked for, and is enough
LEAST = 0.05  # seconds below which a look is not begun


class Engine:
    """One engine, asked over one address. Close it before exec: that removes what we left there."""

    def __init__(self, address: Address, timeout: float = 20.0, *, looks: bool = True) -> None:
        """Connect. `timeout` is in seconds, for the connection and for each ordinary answer.
        `looks`: host paths may be looked for there, if the engine is on another host.

        Raise NoEngine for whatever stands in the way, in one sentence.
        """
        self._wire = Wire(address, timeout)
        self._porter = Porter(self._wire)
        self._runner = Runner(self._wire)
        self.trials = Trials(self._wire, self._porter)
        self._tarrer = Tarrer(self._wire, self._porter)
        self.host = Host(self._wire, self._porter, looks or address.host.startswith("unix:"))
        self.traces = Traces(self._wire, self._porter)
        self.mover = Mover(self._wire, self._porter)
        self._image_labels = ImageLabels(self._wire)
        self.warnings: tuple[str, ...] = ()  # of the last snapshot: drivers that gave no answer
        try:
            version = self._wire.connect()
            # A proxy in front of the socket may forbid this one.
            info = self._wire.json("GET", "/info", "say who it is", allowed=(403, 404))
        except BaseException:
            self._wire.close()
            raise
        self.data_directory = answers.text(answers.mapping(info), "DockerRootDir")
        security = [*map(str, answers.sequence(answers.mapping(info), "SecurityOptions"))]
        self._direct = Direct(self._wire, self._porter, address.host, security)
        self._remap = find_remap(self.data_directory, security)
        self._clock, self.zone = answers.clock(answers.text(answers.mapping(info), "SystemTime"))
        self._asked = time.monotonic()
        self.identity = identify(address, answers.mapping(info), version, self._wire.api)

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove our image and hang up. Never raises: what stays behind is swept the next time."""
        self.mover.close()
        self._direct.close()
        with contextlib.suppress(SafedockerError):
            self._porter.close()
        self._wire.close()

    # facts

    @property
    def now(self) -> float:
        """The engine's clock, seconds since the epoch; 0.0 where it does not say."""
        return self._clock and self._clock + time.monotonic() - self._asked

    def images(self) -> tuple[Image, ...]:
        """Return every image, those between two layers of a build too."""
        listed = self._wire.json("GET", "/images/json", "list its images", {"all": "1"})
        return tuple(map(answers.image, map(answers.mapping, listed)))

    def swarm(self) -> Swarm | None:
        """Return what the swarm holds that the engine belongs to; None when it is in none."""
        return swarm.ask(self._wire)

    def plugins(self) -> tuple[Plugin, ...]:
        """Return the engine's plugins."""
        return swarm.plugins(self._wire)

    def read_config(self, id_: str) -> bytes | None:
        """Return a config of the swarm, by its id or name, as a record; None when there is none."""
        return swarm.read_config(self._wire, id_)

    def create_config(self, record: bytes) -> None:
        """Make a config of a record. Raise SafedockerError when the engine refuses."""
        swarm.create_config(self._wire, record)

    def image_volumes(self, name: str, *, built: bool) -> frozenset[str]:
        """Return where an image declares volumes, nothing when there is no such image.

        `built`: as the container it was built from declared them, which is what Compose v1 reads.
        """
        path = f"/images/{quote(name, safe='/:@')}/json"
        found = self._wire.json("GET", path, f"inspect image {name}", allowed=(400, 404))
        config = answers.mapping(found).get("ContainerConfig" if built else "Config")
        return frozenset(answers.mapping(answers.mapping(config).get("Volumes")))

    def snapshot(self) -> tuple[dict[str, Volume], tuple[Container, ...]]:
        """Return every volume by name, and every container in any state, helpers too.

        The mounts' anonymity is None; `inspect` fills it in.
        """
        found = answers.mapping(self._wire.json("GET", "/volumes", "list its volumes"))
        self.warnings = tuple(map(str, answers.sequence(found, "Warnings")))
        volumes = {one.name: one for one in map(answers.volume, answers.mappings(found, "Volumes"))}
        listed = self._wire.json("GET", "/containers/json", "list its containers", {"all": "1"})
        return volumes, tuple(map(answers.container, map(answers.mapping, listed)))

    def tell_heirs(self, containers: tuple[Container, ...]) -> tuple[Container, ...]:
        """The containers, with `held` of their mounts as the engine counts. Raise NoEngine."""
        return heirs.tell(self._wire, containers)

    def inspect(self, container: Container) -> Container:
        """Return the container with `auto_remove` and every mount's anonymity filled in.

        Raise NoEngine when it is gone.
        Source: moby daemon/mounts.go, removeMountPoints spares a mount whose Spec.Source is set.
        """
        found = find_container(self._wire, container.id)
        if found is None:
            raise NoEngine(
                f"container {container.name} went away while the engine was being asked",
                "type the command again",
            )
        unheld = {mount.target for mount in container.mounts if not mount.held}
        mounts = tuple(
            replace(
                mount,
                anonymous=self._is_anonymous(found, mount, frozenset()),
                held=mount.target not in unheld,
            )
            if mount.kind == "volume"
            else mount
            for mount in map(answers.mount, answers.mappings(found, "Mounts"))
            if mount.kind != "tmpfs"
        ) + answers.tmpfs(found)
        return replace(
            container,
            mounts=mounts,
            auto_remove=removes_itself(found),
            inspected=True,
            binds=answers.binds(found),
            inherited=self._image_labels.inherited(found),
        )

    def _is_anonymous(self, found: dict[str, Any], mount: Mount, seen: frozenset[str]) -> bool:
        asked = answers.asked_source(found, mount.target)
        if asked is not None:
            return asked != mount.volume
        host = answers.mapping(found.get("HostConfig"))
        donors = [str(one).partition(":")[0] for one in answers.sequence(host, "VolumesFrom")]
        for donor in reversed(donors):  # the last one that mounts a target wins
            given = find_container(self._wire, donor)
            if given is None or (donor_id := answers.text(given, "Id")) in seen:
                continue
            for theirs in map(answers.mount, answers.mappings(given, "Mounts")):
                if (theirs.target, theirs.volume) == (mount.target, mount.volume):
                    return self._is_anonymous(given, theirs, seen | {donor_id})
        if not donors:
            return True
        # The donor is gone, or its name is another container's now. What a person named does not
        # look like this; what the engine named always does.
        if re.fullmatch("[0-9a-f]{64}", mount.volume):
            return True
        volume = self.volume(mount.volume)
        return volume is not None and ANONYMOUS in volume.labels

    def volume(self, name: str) -> Volume | None:
        """Return the volume of exactly this name."""
        return find_volume(self._wire, name)

    def sizes(self, names: Iterable[str], seconds: float) -> dict[str, int]:
        """Return the bytes of these volumes as the engine counts them, of those it knows.

        Empty when that takes longer than `seconds`.
        """
        counted = self.counts(names, seconds)
        return {name: size for name, size in counted.items() if size is not None}

    def counts(self, names: Iterable[str], seconds: float) -> dict[str, int | None]:
        """As `sizes`, with None for what the engine tried to count, and could not."""
        return weights.count(self._wire, names, seconds)

    def weigh(self, seconds: float) -> Weights:
        """What images and build cache come to, as far as it is told within `seconds`."""
        return weights.ask(self._wire, seconds)

    # looking inside

    def look(self, volumes: Sequence[Volume], seconds: float) -> dict[str, Look]:
        """Look into the volumes, by name, within `seconds` for all of them together.

        A volume whose data lies elsewhere is not touched: mounting it could hang on a network.
        """
        deadline = time.monotonic() + seconds
        looks = {v.name: Look(Holds.ELSEWHERE, None, 0, "", None) for v in volumes if v.elsewhere}
        names = [volume.name for volume in volumes if volume.name not in looks]
        begun = iter(range(len(names)))
        counted: dict[str, int] = {}

        def one(name: str) -> tuple[inside.Tally, str]:
            waves = max(1.0, (len(names) - next(begun)) / LOOKERS)
            now = time.monotonic()
            return self._look_into(name, now, now + (deadline - now) / waves, counted)

        def count() -> None:
            counted.update(self.sizes(names, max(LEAST, deadline - time.monotonic())))

        # Nobody waits for this one past the deadline, so it is not in the pool.
        counting = threading.Thread(target=count, daemon=True)
        with concurrent.futures.ThreadPoolExecutor(LOOKERS) as pool:
            futures = {name: pool.submit(one, name) for name in names}
            _, slow = concurrent.futures.wait(futures.values(), min(WALK, seconds / 4))
            if slow:  # the engine may count faster than it can send
                counting.start()
        if counting.ident and not all(future.result()[0].whole for future in futures.values()):
            counting.join(max(0.0, deadline - time.monotonic()))
        sizes = dict(counted)
        for name, future in futures.items():
            looks[name] = _put_together(*future.result(), sizes.get(name))
        return looks

    def _look_into(
        self, name: str, start: float, end: float, counted: Mapping[str, int]
    ) -> tuple[inside.Tally, str]:
        """Walk the volume until most of the time is up, or the engine has `counted` it, then probe
        for what was not come to."""
        tally = inside.Tally()
        if end - start < LEAST:
            return tally, ""
        silence = max(0.2, (end - start) / 3)  # seconds after which the engine is left alone
        walk_end = start + (end - start) * 0.6
        sent_from = start  # a busy engine takes its time until it sends, and that is no walk

        def walks() -> bool:
            now = time.monotonic()
            return now < walk_end and not (name in counted and now > sent_from + WALK)

        porter = self._porter

        def has(path: str) -> bool:
            if path in tally.names or tally.whole:
                return path in tally.names
            if time.monotonic() > end or not inside.worth_probing(tally, path):
                return False
            if own is not None:  # each question to the engine is two of its last 256 events
                return inside.start_of(own, path) is not None
            return porter.has(helper, path, silence)

        def read(path: str) -> bytes:
            if path in tally.heads or tally.whole or not has(path):
                return tally.heads.get(path, b"")
            if own is not None:
                return inside.start_of(own, path) or b""
            with porter.read(helper, path, silence) as chunks:
                return inside.first_file(chunks)

        recognised = ""
        with (
            contextlib.suppress(SafedockerError),
            porter.opened(name, read_only=True, timeout=max(1.0, end - start)) as helper,
            self._direct.seen_by(helper, name) as own,
        ):
            if own is not None:
                sent_from = time.monotonic()
                inside.walk_folder(own, tally, walks)
            else:
                with contextlib.suppress(NoEngine), porter.read(helper, timeout=silence) as chunks:
                    sent_from = time.monotonic()
                    inside.walk(self._of_containers(chunks), tally, walks)
            recognised = inside.recognise(has, read)
        return tally, inside.content(tally, recognised)

    def look_into_layers(self, ids: Sequence[str], seconds: float) -> dict[str, Look]:
        """Look into what containers wrote outside their mounts, by id, within `seconds` for all."""
        waves = max(1.0, len(ids) / LOOKERS)
        with concurrent.futures.ThreadPoolExecutor(LOOKERS) as pool:
            looks = pool.map(lambda id_: look_into_layer(self._wire, id_, seconds / waves), ids)
            return dict(zip(ids, looks, strict=True))

    def changed(self, id_: str) -> tuple[str, ...]:
        """The places in a container that hold what it wrote. Raise NoEngine."""
        return changed(self._wire, id_)

    def dangling(self) -> frozenset[str]:
        """Return the names of the volumes that, by the engine's own count, nobody uses."""
        filters = {"filters": json.dumps({"dangling": ["true"]})}
        found = self._wire.json("GET", "/volumes", "list its unused volumes", filters)
        volumes = answers.mappings(answers.mapping(found), "Volumes")
        return frozenset(answers.text(one, "Name") for one in volumes)

    # moving bytes

    @contextlib.contextmanager
    def read_volume(self, name: str) -> Iterator[Iterator[bytes]]:
        """Give the volume's tar stream, names "volume" and "volume/…", byte for byte as it is sent,
        but for the owners on an engine that remaps users: those are as containers know them.

        A stream that is cut raises NoEngine where it is read. Whether it ends with tar's own end
        mark is the reader's to check: an engine that fails half-way may end its answer in order.
        """
        with (
            self._porter.opened(name, read_only=True) as helper,
            self._porter.read(helper) as chunks,
        ):
            yield self._of_containers(chunks)

    @contextlib.contextmanager
    def read_aside(self, path: str) -> Iterator[Iterator[bytes]]:
        """As `read_volume`, of what stands aside at a path of the engine's host."""
        with self._porter.opened_path(path) as helper, self._porter.read(helper) as chunks:
            yield self._of_containers(chunks)

    def _of_containers(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        return of_containers(chunks, self._remap) if self._remap else chunks

    def folder(self, name: str) -> contextlib.AbstractContextManager[int | None]:
        """Give the volume's own folder, open, where we are root on the engine's machine and it is
        certain to be the volume's; else None. Raise NoBackup when there is no such volume."""
        return self._direct.opened(name)

    def mounted_in(self, name: str) -> bytes:
        """Where in the volume's folder something else is mounted; b"" as far as this is known."""
        return self._direct.mounted_in(name)

    def find_tar(self, images: Sequence[str]) -> Tar | None:
        """Return the GNU tar of the first of these images that has one and is here."""
        return self._tarrer.find(images)

    def read_volume_with(
        self, tar: Tar, name: str
    ) -> contextlib.AbstractContextManager[Iterator[bytes]]:
        """As `read_volume`, by a GNU tar: with all that it tells. Raise NoBackup where it fails."""
        return self._tarrer.read(name, tar)

    def write_volume(self, name: str, chunks: Iterable[bytes]) -> None:
        """Put a stream of `read_volume` into a volume that exists, the root's owner and mode too.

        Raise NoBackup when the engine refuses (a full disk, …). What `chunks` raises passes
        through.
        """
        with self._porter.opened(name, read_only=False) as helper:
            self._porter.write(helper, chunks)

    def create_volume(self, volume: Volume) -> None:
        """Make the volume as it was defined. Raise SafedockerError when its name is taken."""
        if self.volume(volume.name) is not None:
            raise SafedockerError(
                f"there is a volume {volume.name} already", "give the volume another name"
            )
        self._wire.call(
            "POST",
            "/volumes/create",
            f"make volume {volume.name}",
            body={
                "Name": volume.name,
                "Driver": volume.driver,
                "DriverOpts": dict(volume.options),
                "Labels": dict(volume.labels),
            },
            timeout=BUSY,
            kind=SafedockerError,
        )

    def remove_volume(self, name: str) -> None:
        """Remove the volume; nothing happens when there is none. In use raises SafedockerError."""
        if self.volume(name) is not None:
            self._wire.find(
                "DELETE",
                f"/volumes/{quote(name, safe='')}",
                f"remove volume {name}",
                timeout=BUSY,
                kind=SafedockerError,
            )

    # whole containers

    def definition(self, id_: str) -> dict[str, Any]:
        """Return all that the engine says of a container. Raise NoBackup when it is gone."""
        return inspect_container(self._wire, id_)

    def read_layer(
        self, id_: str
    ) -> contextlib.AbstractContextManager[tuple[str, int, Iterator[bytes]]]:
        """Give digest, size and bytes of the tar of what a container wrote outside its mounts."""
        return read_layer(self._wire, id_, self._porter.stamp)

    @property
    def maker(self) -> Maker:
        """Makes containers again."""
        return Maker(self._wire)

    def sweep(self) -> tuple[str, ...]:
        """Remove helpers of processes that are gone; return the containers' names."""
        return self._porter.sweep()

    def left_behind(self) -> tuple[str, ...]:
        """What that would remove, in words."""
        return self._porter.left_behind()

    # inside running containers

    def execute(
        self,
        container: str,
        argv: Sequence[str],
        env: Mapping[str, str],
        stdin: Iterable[bytes] | None,
        silence: float,
    ) -> contextlib.AbstractContextManager[Execution]:
        """As execution.execute."""
        return execute(self._wire, container, argv, env, stdin, silence)

    # stopping and starting

    def stop(self, ids: Sequence[str]) -> tuple[Stopped, ...]:
        """As Runner.stop."""
        return self._runner.stop(ids)

    def pause(self, ids: Sequence[str]) -> tuple[Stopped, ...]:
        """As Runner.pause."""
        return self._runner.pause(ids)

    def start(self, ids: Iterable[str]) -> None:
        """As Runner.start."""
        self._runner.start(ids)


def _put_together(tally: inside.Tally, content: str, counted: int | None) -> Look:
    """Make one Look of what was seen and of what the engine counted."""
    if tally.empty:
        return Look(Holds.EMPTY, 0, 0, "", tally.last_write, tally.owner)
    if tally.whole:
        return Look(Holds.DATA, tally.size, tally.size, content, tally.last_write, tally.owner)
    size = None if counted is None else max(counted, tally.size)
    at_least = tally.size if size is None else size
    holds = Holds.DATA if tally.entries or at_least else Holds.UNKNOWN
    return Look(holds, size, at_least, content, tally.last_write, tally.owner)
