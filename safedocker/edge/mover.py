"""Moves what is in a volume aside on the engine's own disk, and back: by one rename, in a helper
container that sees the engine's data directory.

Nothing is copied: it takes as long for a terabyte as for a byte, and all metadata stays. What was
moved stands in <data directory>/safedocker/<backup>/<number>/_data, where no command of Docker's
reaches. The volume is left without its `_data`: the engine removes it all the same, and a
container that would mount it does not start, where an empty one would be taken for a new database.
Seen on 20.10, 26.1 and 28.5.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import threading
from collections.abc import Sequence
from urllib.parse import quote

from safedocker.backup.aside import Aside, Move, Standing
from safedocker.edge import answers
from safedocker.edge.execution import execute
from safedocker.edge.porter import BUSY, SLOW, Porter
from safedocker.edge.wire import Wire
from safedocker.errors import NoBackup, SafedockerError
from safedocker.loss.facts import HELPER

_NOWHERE = "-"  # a folder that nothing stands in
_LASTS = 900  # seconds after which a helper of ours ends by itself
_TRIES = 6  # images that are tried
_PULLED = ("busybox", "latest")  # the smallest of those that can do it
# Images of Docker's own library that people have, tried after those that use the volume. No other:
# the helper sees the engine's data directory as root.
_USUAL = (
    *("busybox", "alpine", "debian", "ubuntu", "postgres", "mariadb", "mysql", "redis", "valkey"),
    *("nginx", "httpd", "node", "python", "golang", "memcached", "rabbitmq"),
)

# $1 is the verb, then for each volume: its name, its folder below ours, and what is told of it; to
# move it aside, the inode that it must have.
# Each test stands alone: of a list of them with && only the last one ends the script.
# From one file system to another `mv` would copy. A rename in the volume's own folder would be a
# better trial, but engines from 23 on take the volume's CreatedAt from that folder's change time.
_SCRIPT = r"""
set -eu
verb=$1; shift
inode() { if [ -d "$1" ]; then stat -c %i "$1"; else echo 0; fi; }
while [ $# -gt 0 ]; do
  volume=/engine/volumes/$1; aside=/engine/safedocker/$2; about=$3; shift 3
  case $verb in
  rehearse)
    mkdir -p "$aside"; chmod 0700 /engine/safedocker "$aside"
    printf '%s\n' "$about" > "$aside/about.json"
    [ "$(stat -c %d "$volume/_data")" = "$(stat -c %d "$aside")" ]
    ;;
  aside)
    [ "$(inode "$volume/_data")" = "$about" ]
    [ ! -L "$volume/_data" ]
    [ ! -e "$aside/_data" ]
    mv "$volume/_data" "$aside/_data"
    ;;
  back)
    [ -d "$aside/_data" ]
    [ -d "$volume" ]
    if [ -e "$volume/_data" ]; then rmdir "$volume/_data"; fi
    mv "$aside/_data" "$volume/_data"
    rm -f "$aside/about.json"; rmdir "$aside" "${aside%/*}" 2>/dev/null || :
    ;;
  remove)
    rm -rf "$aside"
    rmdir "${aside%/*}" 2>/dev/null || :
    ;;
  look) ;;
  esac
  echo "$(inode "$volume/_data") $(inode "$aside/_data")"
done
"""

# $1 and $2 are volumes; what is in the first, of this inode, goes into the second, which is empty.
_INTO = r"""
set -eu
from=/engine/volumes/$1; to=/engine/volumes/$2
[ ! -L "$from/_data" ]
[ "$(stat -c %i "$from/_data")" = "$3" ]
[ -d "$to" ]
[ ! -L "$to" ]
[ "$(stat -c %d "$from/_data")" = "$(stat -c %d "$to")" ]
if [ -e "$to/_data" ]; then rmdir "$to/_data"; fi
mv "$from/_data" "$to/_data"
"""

# Everything that stands aside: a line of folder, kilobytes, inode, and what is told of it.
_LIST = r"""
set -eu
cd /engine/safedocker 2>/dev/null || exit 0
for folder in */*; do
  [ -d "$folder" ] || continue
  size=0; inode=0
  if [ -d "$folder/_data" ]; then
    size=$(du -sk "$folder/_data" | cut -f 1); inode=$(stat -c %i "$folder/_data")
  fi
  printf '%s %s %s ' "$folder" "$size" "$inode"
  if [ -f "$folder/about.json" ]; then cat "$folder/about.json"; else echo; fi
done
"""


class Mover:
    """Moves the volumes of one engine. A helper, once started, runs until `close`."""

    def __init__(self, wire: Wire, porter: Porter) -> None:
        self._wire = wire
        self._porter = porter
        self._lock = threading.Lock()
        self._helpers: dict[str, str] = {}  # data directory: container
        self.may_pull = False  # an image, where none that is there can do it
        self.pulled = ""  # the image that was

    def close(self) -> None:
        """Remove our containers."""
        with self._lock:
            helpers, self._helpers = self._helpers, {}
        for helper in helpers.values():
            with contextlib.suppress(SafedockerError):
                self._porter.remove_new(helper)

    def rehearse(self, root: str, moves: Sequence[Move], images: Sequence[str]) -> list[Standing]:
        """Find out whether a rename will do it; make the folders, and write down what goes.

        `root` is the engine's data directory; `images` are tried first as the helper's. Raise
        NoBackup when it does not: no image that has a shell, another file system, no right to.
        """
        return self._do("rehearse", root, moves, images)

    def aside(self, root: str, moves: Sequence[Move]) -> list[Standing]:
        """Move what is in the volumes aside. Raise NoBackup at the first that fails; those before
        it are moved."""
        return self._do("aside", root, moves)

    def back(self, root: str, moves: Sequence[Move]) -> list[Standing]:
        """Move it back into volumes that hold nothing. Raise NoBackup as `aside`."""
        return self._do("back", root, moves)

    def look(self, root: str, moves: Sequence[Move]) -> list[Standing]:
        """Say what stands where."""
        return self._do("look", root, moves)

    def inodes(self, root: str, volumes: Sequence[str]) -> list[int]:
        """Say what is in volumes, 0 where there is nothing. Raise NoBackup as `rehearse`."""
        return [one.volume for one in self.look(root, [Move(name, _NOWHERE) for name in volumes])]

    def into(self, root: str, volume: str, inode: int, other: str) -> None:
        """Move what is in a volume, which has this inode, into another that holds nothing: the
        first is without its `_data` then. Raise NoBackup as `aside`."""
        self._told(root, _INTO, (volume, other, str(inode)), ())

    def remove(self, root: str, moves: Sequence[Move]) -> None:
        """Remove for good what stands aside."""
        self._do("remove", root, moves)

    def listed(self, root: str) -> list[Aside]:
        """Return all that stands aside in an engine's data directory, whoever moved it."""
        told = self._told(root, _LIST, (), ())
        found = []
        for line in told.splitlines():
            folder, size, inode, about = line.split(" ", 3)
            found.append(Aside(folder, int(size) * 1024, int(inode), about))
        return found

    def _do(
        self, verb: str, root: str, moves: Sequence[Move], images: Sequence[str] = ()
    ) -> list[Standing]:
        words = [verb]
        for move in moves:
            words += [move.volume, move.folder, move.about]
        if verb not in {"rehearse", "look"} and root not in self._helpers:
            self._told(root, _SCRIPT, ["look"], images)
        told = self._told(root, _SCRIPT, words, images)
        lines = [line.split() for line in told.splitlines()]
        if len(lines) != len(moves):
            raise NoBackup(f"the helper said {told!r} of {len(moves)} volumes")
        return [Standing(int(volume), int(aside)) for volume, aside in lines]

    def _told(self, root: str, script: str, words: Sequence[str], images: Sequence[str]) -> str:
        """What a script says. The first one on an engine, which must be one that can be begun
        again, is tried in the images' containers until one can run it; that one is kept."""
        with self._lock:
            if root in self._helpers:
                return self._ran(self._helpers[root], script, words)
            first: SafedockerError | None = None
            for image in self._candidates(images):
                try:
                    return self._begun(image, root, script, words)
                except SafedockerError as fault:
                    first = first or fault
            if self.may_pull and not self.pulled:
                self.pulled = self._pull()
                return self._begun(self.pulled, root, script, words)
            said = f": {first.message}" if first else ""
            raise NoBackup(
                f"no image on the engine can move what is in a volume{said}",
                f"get one: docker pull {_PULLED[0]}; or let safedocker: SAFEDOCKER_PULL=helper",
            )

    def _begun(self, image: str, root: str, script: str, words: Sequence[str]) -> str:
        """What a script says in a new container of an image, which is kept if it can run it."""
        helper = self._start(image, root)
        try:
            told = self._ran(helper, script, words)
        except BaseException:
            with contextlib.suppress(SafedockerError):
                self._porter.remove_new(helper)
            raise
        self._helpers[root] = helper
        return told

    def _pull(self) -> str:
        """Have the engine pull the helper's image, from where it pulls for everybody."""
        name, tag = _PULLED
        answer = self._wire.call(
            "POST",
            "/images/create",
            f"pull {name}",
            {"fromImage": name, "tag": tag},
            timeout=SLOW,
            kind=NoBackup,
        )
        # A failure on the way stands in the last line, of an answer that began well.
        lines = [line for line in answer.text.splitlines() if line.strip()]
        with contextlib.suppress(ValueError):
            if wrong := answers.text(answers.mapping(json.loads(lines[-1])), "error"):
                raise NoBackup(f"the engine can't pull {name}: {wrong}")
        return f"{name}:{tag}"

    def _ran(self, helper: str, script: str, words: Sequence[str]) -> str:
        argv = ("sh", "-c", script, "sh", *words)
        with execute(self._wire, helper, argv, {}, None, SLOW) as ran:
            told = b"".join(ran).decode()
        if ran.exit_code:
            said = " ".join(ran.said.split())
            raise NoBackup(f"moving it aside failed: {said or f'exit code {ran.exit_code}'}")
        return told

    def _candidates(self, images: Sequence[str]) -> list[str]:
        """Images by id: those named, then the usual ones."""
        found = self._wire.json("GET", "/images/json", "list its images")
        named: dict[str, str] = {}
        for one in map(answers.mapping, found):
            id_ = answers.text(one, "Id")
            tags = [str(tag) for tag in answers.sequence(one, "RepoTags")]
            named |= {id_: id_, **dict.fromkeys(tags, id_)}
            named |= {tag.removesuffix(":latest"): id_ for tag in tags}
        chosen = [named[image] for image in images if image in named]
        for usual in _USUAL:
            chosen += [id_ for tag, id_ in named.items() if tag.partition(":")[0] == usual]
        return list(dict.fromkeys(chosen))[:_TRIES]

    def _start(self, image: str, root: str) -> str:
        found = self._wire.json("GET", f"/images/{quote(image, safe=':')}/json", "inspect an image")
        config = answers.mapping(answers.mapping(found).get("Config"))
        # A volume that the image declares would be made anew, and would have to be removed.
        declared = answers.mapping(config.get("Volumes"))
        helper = f"safedocker-{secrets.token_hex(8)}"
        self._wire.call(
            "POST",
            "/containers/create",
            "make a helper container",
            {"name": helper},
            body={
                "Image": image,
                "Entrypoint": ["sh", "-c", f"sleep {_LASTS}"],
                "Cmd": [],
                "User": "0:0",
                "WorkingDir": "/",
                "Healthcheck": {"Test": ["NONE"]},
                "Labels": {HELPER: self._porter.stamp},
                "HostConfig": {
                    "NetworkMode": "none",
                    "LogConfig": {"Type": "none"},
                    "AutoRemove": True,
                    "ReadonlyRootfs": True,
                    "CapDrop": ["ALL"],
                    "CapAdd": ["DAC_OVERRIDE", "FOWNER"],
                    # The data directory is the host's root's, and has a label of its own.
                    "UsernsMode": "host",
                    "SecurityOpt": ["label=disable", "no-new-privileges"],
                    "Mounts": [
                        {
                            "Type": "bind",
                            "Source": root,
                            "Target": "/engine",
                            # Not the mounts of all running containers, which would stay busy.
                            "BindOptions": {"NonRecursive": True},
                        },
                        *({"Type": "tmpfs", "Target": path} for path in declared),
                    ],
                },
            },
            timeout=BUSY,
            kind=NoBackup,
        )
        try:
            path = f"/containers/{helper}/start"
            self._wire.call("POST", path, "start it", timeout=BUSY, kind=NoBackup)
        except BaseException:
            with contextlib.suppress(SafedockerError):
                self._porter.remove_new(helper)
            raise
        return helper
