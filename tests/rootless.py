"""An engine that is not root's: dockerd in a user namespace of an account's, by rootlesskit, as
`dockerd-rootless-setuptool.sh install` sets it up."""

import os
import subprocess
import sys
from pathlib import Path

from tests.debian import ROOTLESS, Unavailable, cache, suite_tree, tree_of
from tests.engines import SUBORDINATE, PrivateEngine

ROOT = Path(__file__).resolve().parents[1]
ACCOUNT, UID = "anna", 5001
IDS = 300_000  # the host's ids from 1 of its containers on; their root is the account itself
STARTER = "usr/share/docker.io/contrib/dockerd-rootless.sh"


class RootlessEngine(PrivateEngine):
    """`with RootlessEngine() as engine:`, an engine of ACCOUNT's, where such a one lies."""

    def __init__(self, version: str = "26") -> None:
        super().__init__(version)

    @property
    def runtime(self) -> Path:
        """The account's XDG_RUNTIME_DIR."""
        return self.folder / "run"

    @property
    def socket(self) -> Path:
        return self.runtime / "docker.sock"

    @property
    def data_root(self) -> Path:
        return self.folder / "own/.local/share/docker"

    @property
    def path(self) -> str:
        return f"{tree_of(ROOTLESS)}/usr/bin:{super().path}"

    def start(self) -> None:
        if not tree_of(ROOTLESS).is_dir():
            raise Unavailable("rootlesskit is not unpacked: python3 tests/engines.py install")
        super().start()

    def _mounts(self) -> list[str]:
        self.folder.chmod(0o711)
        for place in (self.runtime, self.folder / "own"):
            place.mkdir(exist_ok=True)
            os.chown(place, UID, UID)
            place.chmod(0o700)
        files = {
            "passwd": Path("/etc/passwd").read_text()
            + f"{ACCOUNT}:x:{UID}:{UID}::{self.folder}/own:/bin/sh\n",
            "subordinate": f"{ACCOUNT}:{IDS}:65536\n",
        }
        for name, text in files.items():
            (self.folder / name).write_text(text)
        bound = {"/etc/passwd": "passwd", **dict.fromkeys(SUBORDINATE, "subordinate")}
        return [
            *opened(self.folder),
            *(f"mount --bind {self.folder / name} {place}" for place, name in bound.items()),
        ]

    def _dockerd(self) -> list[str]:
        environ = {
            "HOME": f"{self.folder}/own",
            "USER": ACCOUNT,
            "XDG_RUNTIME_DIR": str(self.runtime),
            "PATH": self.path,
            "LD_LIBRARY_PATH": f"{tree_of(ROOTLESS)}/usr/lib/{os.uname().machine}-linux-gnu",
        }
        return [
            *("setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups"),
            *("env", "-i", *(f"{key}={value}" for key, value in environ.items())),
            *("sh", str(suite_tree(self.version) / STARTER)),
            *("--exec-opt", "native.cgroupdriver=cgroupfs"),
        ]


def hindrance() -> str:
    """Why this machine can have no rootless engine, whatever is installed; "" where it can."""
    if not os.path.exists("/dev/net/tun"):
        return "no rootless engine here: there is no /dev/net/tun"
    as_account = ("setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups")
    argv = (*as_account, "unshare", "--user", "--map-root-user", "true")
    done = subprocess.run(argv, cwd="/", capture_output=True, text=True, check=False)
    if done.returncode and os.geteuid() == 0:
        return f"no rootless engine here: no user namespaces: {done.stderr.strip()}"
    return ""


def opened(folder: Path) -> list[str]:
    """The commands by which, in a mount namespace of its own, everybody sees our programs too that
    lie where root alone may go."""
    lines: list[str] = []
    needed = [Path(sys.base_prefix), Path(sys.prefix), ROOT, cache()]
    closed = {
        above for path in needed for above in path.parents if not above.stat().st_mode & 0o001
    }
    for above in sorted(closed):
        if any(other in above.parents for other in closed):
            continue
        there = folder / f"open{len(lines)}"
        lines += [f"mkdir -p {there}", f"mount -t tmpfs -o mode=755 none {there}"]
        for path in needed:
            if above in path.parents:
                place = there / path.relative_to(above)
                lines += [f"mkdir -p {place}", f"mount --bind {path} {place}"]
        lines.append(f"mount --rbind {there} {above}")
    return lines
