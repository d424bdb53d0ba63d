"""A Python that runs the shim, or one of our own commands, and at the Nth step dies by -9, or has
something done to the world: HARM, a line for sh.

    python dying.py STEPS N HARM shim ROOT docker SHIM REAL LOCALE words ...
    python dying.py STEPS N HARM own ROOT words ...

N is a number, or words that the step's line has. A step is whatever changes something outside the
process: a file opened for writing, written, synced, renamed or removed, a folder, a request that
asks the engine to do something, a program that is started, and the exec. The harm is done before
the step; the steps come to STEPS, a line each.
"""

from __future__ import annotations

import os
import signal
import sys

_CHANGES = {
    *("os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.link", "os.symlink", "os.truncate"),
    *("os.exec", "subprocess.Popen", "os.posix_spawn"),
}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_ASKS = (b"POST ", b"PUT ", b"DELETE ")


def watch(steps: int, last: str, harm: str) -> None:
    """Count from here on; do the harm at the `last` step."""
    done = 0
    write, sync = os.write, os.fsync

    def step(name: str) -> None:
        nonlocal done
        done += 1
        write(steps, f"{name}\n".encode(errors="replace"))
        now = done == int(last) if last.isdigit() else last in name
        if now and harm:
            os.system(harm)  # noqa: S605 - the test's own words
        elif now:
            os.kill(os.getpid(), signal.SIGKILL)

    def heard(event: str, told: tuple[object, ...]) -> None:
        if event in _CHANGES:
            step(f"{event} {told[0]!r}")
        elif event == "open" and isinstance(told[2], int) and told[2] & _WRITES:
            step(f"open {told[0]!r}")
        elif (
            event == "http.client.send" and isinstance(told[1], bytes) and told[1].startswith(_ASKS)
        ):
            step(told[1].split(b"\r\n", 1)[0].decode(errors="replace"))

    def writing(file: int, text: bytes) -> int:
        if file > 2:
            step("write")
        return write(file, text)

    def syncing(file: int) -> None:
        step("sync")
        sync(file)

    setattr(os, "write", writing)  # noqa: B010 - it is counted, and done
    setattr(os, "fsync", syncing)  # noqa: B010 - as above
    sys.addaudithook(heard)


def main() -> None:
    """Read the arguments, and be the program they name."""
    _, told, last, harm, program, root, *words = sys.argv
    steps = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    sys.path.insert(0, root)  # before what is installed: in another work tree it is other code
    if program == "shim":
        from safedocker import shim

        watch(steps, last, harm)
        shim.main(["-c", root, *words])
    else:
        from safedocker import cli

        sys.argv = ["safedocker", *words]
        watch(steps, last, harm)
        cli.main()


if __name__ == "__main__":
    main()
