"""Debian's packages, unpacked into a cache and never installed: engines and images are of them.

Nothing here names an archive: the machine's own apt sources do.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

# What dockerd wants on the machine itself. None of it brings or starts an engine.
MACHINE_PACKAGES = ("iptables", "libdevmapper1.02.1", "libseccomp2", "procps", "python3")

# Compose v1 with all that it imports, to be run from where it is unpacked.
COMPOSE_V1 = (
    "docker-compose",
    *("python3-attr", "python3-cached-property", "python3-certifi", "python3-chardet"),
    *("python3-charset-normalizer", "python3-distro", "python3-distutils", "python3-docker"),
    *("python3-dockerpty", "python3-docopt", "python3-dotenv", "python3-idna"),
    *("python3-jsonschema", "python3-lib2to3", "python3-pkg-resources", "python3-pyrsistent"),
    *("python3-requests", "python3-six", "python3-texttable", "python3-urllib3"),
    *("python3-websocket", "python3-yaml"),
)


class Release(NamedTuple):
    """One engine with the client and Compose of its time."""

    suite: str
    packages: tuple[str, ...]
    label: str
    moves: bool = False  # the suite changes under us: that it fails is not our fault


# runc of trixie and sid wants a newer libc than Debian 12's: runc and docker-init are bookworm's.
RELEASES = {
    "20": Release(
        "bookworm",
        ("docker.io", "containerd", "runc", "tini", "busybox-static", *COMPOSE_V1),
        "20.10+compose1",
    ),
    "26": Release(
        "trixie", ("docker.io", "docker-cli", "docker-compose", "containerd"), "26.1+compose2"
    ),
    "28": Release(
        "sid",
        ("docker.io", "docker-cli", "docker-compose", "containerd"),
        "28+compose2",
        moves=True,
    ),
}


# The shells that people have and a bare machine has not, sudo, and both ends of ssh, each with the
# libraries that it may not have either.
SHELLS = Release(
    "bookworm",
    (
        *("zsh", "zsh-common", "fish", "fish-common", "libpcre2-32-0", "libcap2", "libstdc++6"),
        *("sudo", "openssh-server", "openssh-client", "libwrap0", "libnsl2", "libtirpc3"),
        *("libtirpc-common", "libgssapi-krb5-2", "libkrb5-3", "libk5crypto3", "libkrb5support0"),
        *("libkeyutils1", "libcom-err2"),
    ),
    "shells",
)

# What an engine runs with that is not root's.
ROOTLESS = Release("bookworm", ("rootlesskit", "slirp4netns", "libslirp0", "uidmap"), "rootless")


class Unavailable(Exception):  # noqa: N818 - named for what is missing
    """An engine, a suite or an image that this machine cannot have, with the reason."""


def cache() -> Path:
    """Where unpacked suites and images are kept between runs."""
    if own := os.environ.get("TESTS_SAFEDOCKER_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "safedocker-tests"


def suite_tree(version: str) -> Path:
    """Where a version's packages are unpacked."""
    return tree_of(RELEASES[version])


def tree_of(release: Release) -> Path:
    """Where packages are unpacked; the name changes with their list."""
    recipe = hashlib.sha256(" ".join(release.packages).encode()).hexdigest()[:8]
    return cache() / f"{release.suite}-{recipe}"


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """One install at a time; the lock goes with the process that holds it."""
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def whole(target: Path) -> Iterator[Path]:
    """A temporary sibling that becomes `target` by one rename, or is removed."""
    draft = target.with_name(f".{target.name}.part")
    discard(draft)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield draft
        draft.rename(target)
    finally:
        discard(draft)


def discard(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def call(*argv: str | Path, cwd: Path | None = None, attempts: int = 1) -> str:
    """Run a command of the machine's and return its stdout; raise Unavailable with what it said."""
    environ = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    for left in reversed(range(attempts)):
        try:
            done = subprocess.run(
                argv, cwd=cwd, env=environ, capture_output=True, text=True, check=False
            )
        except OSError as error:
            raise Unavailable(f"{argv[0]}: {error.strerror}") from error
        if done.returncode == 0:
            return done.stdout
        if left:
            time.sleep(3)
    said = "\n".join(done.stderr.strip().splitlines()[-5:])
    raise Unavailable(f"{shlex.join(map(str, argv))} failed: {said}")


def install_machine_packages() -> None:
    """Install with apt the libraries and tools of MACHINE_PACKAGES that the machine lacks."""
    if not shutil.which("apt-get"):
        raise Unavailable("this machine has no apt: the engines come out of Debian's packages")
    query = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *MACHINE_PACKAGES],
        capture_output=True,
        text=True,
        check=False,
    )
    present = {line.split()[0] for line in query.stdout.splitlines() if line.endswith(" installed")}
    if missing := [name for name in MACHINE_PACKAGES if name not in present]:
        wait = ("-o", "DPkg::Lock::Timeout=300")
        call("apt-get", "-q", *wait, "update", attempts=3)
        call("apt-get", "-qy", *wait, "install", "--no-install-recommends", *missing, attempts=3)


def mirrors() -> list[str]:
    """The archives of Debian that this machine's own apt sources name, in their order."""
    listing = call("apt-get", "--print-uris", "update", attempts=3)
    uris = re.findall(r"'(.+?)/dists/([^/']+)/InRelease'", listing)
    main = [uri for uri, suite in uris if not re.search(r"-(security|updates|backports)$", suite)]
    return list(dict.fromkeys(uri for uri in main if "security" not in uri))


def apt_options(suite: str) -> list[str]:
    """Options by which apt sees `suite` alone and an empty system, and writes below the cache."""
    own = cache() / "apt" / suite
    for folder in (own / "lists" / "partial", own / "archives" / "partial"):
        folder.mkdir(parents=True, exist_ok=True)
    (own / "status").touch()
    settings = {
        "Dir::Etc::sourcelist": own / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "Dir::State::Lists": own / "lists",
        "Dir::State::status": own / "status",
        "Dir::Cache": own,
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
        "APT::Update::Error-Mode": "any",  # or a half-fetched list counts as success
    }
    return [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]


def update_suite(suite: str) -> list[str]:
    """Fetch what `suite` holds from the machine's own mirror; return the options that use it."""
    options = apt_options(suite)
    reason = Unavailable("this machine's apt sources name no Debian archive")
    for mirror in mirrors():
        source = f"deb [signed-by={KEYRING}] {mirror} {suite} main\n"
        (cache() / "apt" / suite / "sources.list").write_text(source)
        try:
            call("apt-get", "-q", *options, "update", attempts=3)
        except Unavailable as error:
            reason = error
        else:
            return options
    raise reason


def download(suite: str, packages: Sequence[str], into: Path) -> list[Path]:
    """Download the packages of `suite` into a folder and return the files, by name."""
    into.mkdir(parents=True)
    call("apt-get", "-q", *apt_options(suite), "download", *packages, cwd=into, attempts=3)
    return sorted(into.glob("*.deb"))


def unpack(debs: Sequence[Path], tree: Path) -> None:
    """Unpack packages into one tree, running nothing of theirs; manuals and locales stay out."""
    for folder in ("bin", "sbin", "lib"):  # merged /usr, as on an installed system
        (tree / "usr" / folder).mkdir(parents=True, exist_ok=True)
        (tree / folder).symlink_to(f"usr/{folder}")
    left_out = [f"--exclude=./usr/share/{name}/*" for name in ("doc", "man", "locale", "lintian")]
    for deb in debs:
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as data:
            tar = ["tar", "-x", "--keep-directory-symlink", *left_out, "-C", str(tree)]
            done = subprocess.run(tar, stdin=data.stdout, check=False)
        if done.returncode or data.returncode:
            raise Unavailable(f"{deb.name} cannot be unpacked")


def install_suite(release: Release) -> None:
    """Unpack the packages of one release, unless they are there."""
    target = tree_of(release)
    if target.is_dir():
        return
    update_suite(release.suite)
    with whole(target) as tree:
        debs = tree.with_name(f".{target.name}.debs")
        discard(debs)
        unpack(download(release.suite, release.packages, debs), tree)
        discard(debs)
        if release is RELEASES["20"]:
            write_compose_v1(tree)


def write_compose_v1(tree: Path) -> None:
    """Make Compose v1 run from its tree; nothing of that is passed on to the programs it starts."""
    program = tree / "usr/bin/docker-compose"
    program.write_text(
        "#!/usr/bin/python3 -I\n"
        "import os, sys\n"
        "usr = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))\n"
        'sys.path[:0] = [usr + "/lib/python3/dist-packages"]\n'
        'sys.path += [usr + "/lib/python3.11"]\n'
        "from compose.cli.main import main\n"
        "sys.exit(main())\n"
    )
    program.chmod(0o755)
