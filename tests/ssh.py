"""Both ends of ssh, for one connection: a server that speaks to its client alone and ends with it.
No port, no daemon, no file of the machine's own server."""

import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.debian import SHELLS, Unavailable, tree_of

# What a server wants of the machine, in a mount namespace of its own: a folder, and accounts.
_SERVE = """
set -eu
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/sshd
mount --bind "$1" /etc/passwd
shift
exec "$@"
"""


class Host:
    """A host that one logs in to by ssh, as somebody who is root there and has this home.

    `environ` is what the host's own settings give to everybody who logs in. A folder that is there
    already is that of the same host.
    """

    def __init__(self, folder: Path, home: Path, environ: Mapping[str, str]) -> None:
        self.folder = folder
        self._tree = tree_of(SHELLS)
        if not self._tree.is_dir():
            raise Unavailable("ssh is not unpacked: python3 tests/engines.py install")
        (self._libraries,) = self._tree.glob("usr/lib/*-linux-gnu*")
        if not folder.is_dir():
            self._set_up(home, environ)

    def _set_up(self, home: Path, environ: Mapping[str, str]) -> None:
        folder = self.folder
        folder.mkdir(mode=0o700)
        for key in ("host", "own"):
            options = ["-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)]
            subprocess.run([*self._program("usr/bin/ssh-keygen"), *options], check=True)
        accounts = Path("/etc/passwd").read_text(encoding="utf-8").splitlines()
        others = [line for line in accounts if not line.startswith("sshd:")]
        others += ["sshd:*:64000:65534::/run/sshd:/usr/sbin/nologin", f"me:*:0:0::{home}:/bin/sh"]
        (folder / "passwd").write_text("\n".join(others) + "\n", encoding="utf-8")
        given = " ".join(shlex.quote(f"{name}={value}") for name, value in environ.items())
        (folder / "sshd_config").write_text(
            f"HostKey {folder}/host\n"
            f"AuthorizedKeysFile {folder}/own.pub\n"
            f"SetEnv {given}\n"
            "StrictModes no\n"  # the folder lies below one that everybody may write to
            "PidFile none\n"
            "LogLevel ERROR\n",
            encoding="utf-8",
        )

    def _program(self, path: str) -> list[str]:
        return ["env", f"LD_LIBRARY_PATH={self._libraries}", str(self._tree / path)]

    def argv(self, line: str, *, terminal: bool = False) -> list[str]:
        """What runs a line there, as `ssh host LINE` or `ssh -t host LINE` does."""
        server = [
            *("unshare", "--mount", "--propagation", "private", "sh", "-c", _SERVE, "sh"),
            str(self.folder / "passwd"),
            *self._program("usr/sbin/sshd"),
            *("-i", "-e", "-f", str(self.folder / "sshd_config")),
        ]
        options = {
            "ProxyCommand": shlex.join(server),
            "IdentityFile": str(self.folder / "own"),
            "IdentitiesOnly": "yes",
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
            "LogLevel": "ERROR",
        }
        told = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        client = [*self._program("usr/bin/ssh"), "-F", "none", *told]
        return [*client, *(("-t",) if terminal else ()), "me@host", line]
