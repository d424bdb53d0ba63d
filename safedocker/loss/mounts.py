"""Which host paths a new container mounts, and which of them Docker makes when it starts: the rules
of `-v`, `--mount`, `--tmpfs` and `--volumes-from` of docker run, as client and engine apply them.

Whether a path is there is not decided here. Pure; hot.
"""

from __future__ import annotations

import os

from safedocker.command.parse import Command
from safedocker.command.record import TYPE_CHECKING, NamedTuple
from safedocker.errors import WouldFail

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# The clients whose rules were seen; 29's are from its source. A version between two of them may
# follow either.
CLIENTS = (20, 26, 28, 29)


class Bind(NamedTuple):
    """A path of the engine's host, absolute and clean, and where it is mounted."""

    source: str
    target: str


class Mounts(NamedTuple):
    """What a command mounts of the engine's host. `refused`: why Docker refuses it by itself, and
    makes nothing; "" where it does not, as far as the words tell."""

    makes: tuple[Bind, ...] = ()  # Docker makes the source when the container starts
    needs: tuple[Bind, ...] = ()  # without the source Docker refuses
    donors: tuple[str, ...] = ()  # containers whose mounts it takes over
    refused: str = ""


def read(command: Command, docker: tuple[int, ...] | None, folder: str) -> Mounts:
    """Given `docker run` or `create`, the client's version and its working directory, return what
    it mounts. Where versions differ and the client's is not known, every path that one of them
    would make is named, and it is refused only if each of them refuses.

    Source: docker/cli cli/command/container/opts.go, moby volume/mounts/linux_parser.go and
    daemon/volumes.go registerMountPoints; each rule was seen on 20.10, 26.1 and 28.5.
    """
    readings = [_read(command, client, folder) for client in columns(docker)]
    taken = [one for one in readings if not one.refused]
    if not taken:
        return readings[-1]
    makes = tuple(dict.fromkeys(bind for one in taken for bind in one.makes))
    needs = [bind for bind in taken[0].needs if all(bind in one.needs for one in taken)]
    return Mounts(makes, tuple(needs), taken[0].donors)


def columns(docker: tuple[int, ...] | None) -> tuple[int, ...]:
    """The entries of CLIENTS that speak for a client: its own, or both neighbours."""
    if docker is None:
        return CLIENTS
    below = [one for one in CLIENTS if one <= docker[0]] or [CLIENTS[0]]
    above = [one for one in CLIENTS if one >= docker[0]] or [CLIENTS[-1]]
    return tuple(dict.fromkeys((below[-1], above[0])))


def _read(command: Command, client: int, folder: str) -> Mounts:
    tmpfs = {value.partition(":")[0] for value in command.values("tmpfs")}
    foreign = bool(command.value("volume-driver"))
    makes: list[Bind] = []
    needs: list[Bind] = []
    taken: set[str] = set()
    donors = tuple(dict.fromkeys(one.partition(":")[0] for one in command.values("volumes-from")))
    try:
        for target in tmpfs:
            target_of(target)
        for spec in dict.fromkeys(command.values("volume")):
            raw = of_client(spec, client, folder)
            bind = of_engine(raw, foreign=foreign) if raw else None
            if bind is not None:
                _take(bind.target, taken, tmpfs)
            if bind is not None and bind.source:
                makes.append(bind)
        for spec in command.values("mount"):
            bind, creates = of_mount(spec, client, folder)
            _take(bind.target, taken, tmpfs)
            if bind.source:
                (makes if creates else needs).append(bind)
    except WouldFail as reason:
        return Mounts(refused=str(reason))
    return Mounts(tuple(dict.fromkeys(makes)), tuple(needs), donors)


def _take(target: str, taken: set[str], tmpfs: set[str]) -> None:
    """Note a mount's target. A --tmpfs is compared as it was written: `/x/` is not `/x` (seen)."""
    if target in taken or target in tmpfs:
        raise WouldFail(f"Duplicate mount point: {target}")
    taken.add(target)


# -v, the client's part


def of_client(spec: str, client: int, folder: str) -> str:
    """What the client sends for one `-v` as a bind: "" for an anonymous volume, which it sends
    elsewhere. Raise WouldFail.

    Source: docker/cli cli/command/container/opts.go parse; relative sources since 23.0 for `./`,
    since 28 for whatever begins with a dot.
    """
    source, wrong = _split(spec)
    if wrong and client > 20:
        raise WouldFail(f"invalid spec: {spec}: {wrong}")
    if not source:
        return ""
    host, _, rest = spec.partition(":")
    return f"{absolute(host, client, folder)}:{rest}"


def absolute(path: str, client: int, folder: str) -> str:
    """A source as the client hands it on: relative ones are made absolute, where it knows that."""
    if client >= 28:
        relative = path.startswith(".")
    else:
        relative = client > 20 and (path == "." or path.startswith("./"))
    return clean(f"{folder}/{path}") if relative else path


def _split(spec: str) -> tuple[str, str]:
    """The source that the client sees in a spec, and what it finds wrong with the spec.

    One letter before a colon is a drive of Windows'. Source: docker/cli
    cli/compose/loader/volume.go ParseVolume.
    """
    if len(os.fsencode(spec)) < 3:
        return "", "" if spec else "invalid empty volume spec"
    source = target = ""
    sections = list(_sections(spec))
    for at, section in enumerate(sections):
        ends = at == len(sections) - 1
        if not section:
            return source, "empty section between colons"
        if not source and ends:
            return "", ""
        if not source:
            source = section
        elif not target:
            target = section
        elif not ends:
            return source, "too many colons"
    return source, ""


def _sections(spec: str) -> Iterator[str]:
    section = ""
    for letter in spec:
        if letter == ":" and not (len(section) == 1 and section.isalpha()):
            yield section
            section = ""
        else:
            section += letter
    yield section


# -v, the engine's part

_MODES = (
    {"ro", "rw"},
    {"z", "Z"},
    {"private", "rprivate", "slave", "rslave", "shared", "rshared"},
    {"nocopy"},
    {"consistent", "cached", "delegated"},
)
_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")


def of_engine(raw: str, *, foreign: bool = False) -> Bind:
    """What the engine makes of `SOURCE:TARGET[:MODE]`; a volume has the source "". Raise WouldFail.

    `foreign`: a volume driver is named, whose names follow other rules.
    Source: moby volume/mounts/linux_parser.go ParseMountRaw, volume/local/local.go validateName.
    """
    source, *rest = raw.split(":", 3)
    target = rest[0] if rest else source
    mode = rest[1] if len(rest) > 1 else ""
    wrong = len(rest) > 2 or not source or (len(rest) == 1 and is_mode(target))
    if wrong:
        raise WouldFail(f"invalid volume specification: {raw!r}")
    if not is_mode(mode):
        raise WouldFail(f"invalid mode: {mode}")
    target = target_of(target)
    if source.startswith("/"):
        if "nocopy" in mode.split(","):
            raise WouldFail(f"invalid volume specification: {raw!r}")
        return Bind(clean(source), target)
    if len(rest) and not foreign and not is_name(source):
        raise WouldFail(f"create {source}: invalid name of a volume")
    return Bind("", target)


def is_mode(mode: str) -> bool:
    """Is it a mode of a mount: known words, at most one of each sort? Source: moby
    volume/mounts/linux_parser.go linuxValidMountMode."""
    if not mode:
        return True
    words = mode.split(",")
    sorts = [[at for at, sort in enumerate(_MODES) if word in sort] for word in words]
    found = [at for places in sorts for at in places]
    return len(found) == len(words) == len(set(found))


def is_name(name: str) -> bool:
    """May a volume, or a container, be called this? Source: moby names/names.go."""
    return (
        len(name) > 1
        and name[0] in _LETTERS
        and all(one in _LETTERS or one in "_.-" for one in name)
    )


def target_of(target: str) -> str:
    """A place in the container, cleaned. Raise WouldFail for one that is relative, or the root."""
    if not target.startswith("/"):
        raise WouldFail(f"invalid mount path: {target!r} mount path must be absolute")
    cleaned = clean(target)
    if cleaned == "/":
        raise WouldFail("invalid specification: destination can't be '/'")
    return cleaned


def clean(path: str) -> str:
    """Go's path.Clean."""
    cleaned = os.path.normpath(path)
    return cleaned[1:] if cleaned.startswith("//") else cleaned


# --mount

_KEYS = {
    *("type", "source", "src", "target", "dst", "destination", "readonly", "ro", "consistency"),
    *("bind-propagation", "bind-nonrecursive", "bind-recursive", "bind-create-src"),
    *("volume-nocopy", "volume-label", "volume-driver", "volume-opt", "volume-subpath"),
    *("image-subpath", "tmpfs-size", "tmpfs-mode"),
}
_KINDS = {"bind", "volume", "tmpfs", "npipe", "cluster", "image"}
_SINCE = {"bind-recursive": 26, "volume-subpath": 26, "image-subpath": 28, "bind-create-src": 29}
_BARE = {"readonly", "ro", "volume-nocopy", "bind-nonrecursive", "bind-create-src"}
_TRUE = {"1", "t", "T", "true", "TRUE", "True"}


def of_mount(value: str, client: int, folder: str) -> tuple[Bind, bool]:
    """What one `--mount` mounts, and whether Docker makes its source; what is no bind mount has the
    source "". Raise WouldFail where that is certain.

    Source: docker/cli opts/mount.go; `bind-create-src` since 29.3.
    """
    kind, source, target, creates = "volume", "", "", False
    given: set[str] = set()
    for field in _fields(value):
        key, equals, word = field.partition("=")
        key = key.lower()
        if key not in _KEYS or client < _SINCE.get(key, 0) or (not equals and key not in _BARE):
            raise WouldFail(f"invalid field {field!r} in --mount")
        given.add(key.partition("-")[0] if "-" in key else "")
        if key == "type":
            kind = word.lower()
        elif key in {"source", "src"}:
            source = absolute(word, client, folder)
        elif key in {"target", "dst", "destination"}:
            target = word
        elif key == "bind-create-src":
            creates = not equals or word in _TRUE
    if not kind or not target:
        raise WouldFail("--mount needs a type and a target")
    if kind not in _KINDS or (kind == "tmpfs" and source):
        raise WouldFail(f"--mount can't be of type {kind} with this source")
    others = given - {"", kind}
    if others:
        raise WouldFail(f"cannot mix {others.pop()} options with mount type {kind}")
    target = target_of(target)
    if kind != "bind":
        if kind == "volume" and source and "volume" not in given and not is_name(source):
            raise WouldFail(f"create {source}: invalid name of a volume")
        return Bind("", target), False
    if not source.startswith("/"):
        raise WouldFail(f"invalid mount path: {source!r} mount path must be absolute")
    return Bind(clean(source), target), creates


def _fields(value: str) -> Sequence[str]:
    """One line of CSV as Go's encoding/csv reads it: a field is quoted as a whole or not at all."""
    fields: list[str] = []
    rest = value.partition("\n")[0]
    while True:
        if rest.startswith('"'):
            field, rest = _quoted(rest[1:])
        else:
            field, comma, rest = rest.partition(",")
            if '"' in field:
                raise WouldFail('bare " in a field of --mount')
            rest = comma + rest
        fields.append(field)
        if not rest:
            return fields
        rest = rest[1:]


def _quoted(rest: str) -> tuple[str, str]:
    """The field that ends with the next single quote, and what follows it: a comma, or nothing."""
    field = ""
    while True:
        part, quote, rest = rest.partition('"')
        field += part
        if not quote:
            raise WouldFail('missing " in a field of --mount')
        if rest[:1] != '"':
            if rest[:1] not in {"", ","}:
                raise WouldFail('extraneous " in a field of --mount')
            return field, rest
        field += '"'
        rest = rest[1:]
