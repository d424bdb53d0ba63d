"""Asks the real clients for their help texts, several at a time. What the texts tell is
command/drift.py's."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

SECONDS = 30.0
AT_ONCE = 4
# Help leaves out what the engine at hand can't do: so there is none.
NO_ENGINE = "unix:///nonexistent/docker.sock"


@dataclass(frozen=True)
class HelpTexts:
    """A real client, asked for help only."""

    real: str

    def ask(self, commands: Iterable[tuple[str, ...]]) -> list[str]:
        """What `WORDS --help` prints for each command, in order; "" where there is no answer."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(self._ask, commands))

    def _ask(self, words: tuple[str, ...]) -> str:
        kept = {name: value for name, value in os.environ.items() if name != "DOCKER_CONTEXT"}
        try:
            done = subprocess.run(
                [self.real, *words, "--help"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**kept, "DOCKER_HOST": NO_ENGINE},
                timeout=SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return done.stdout.decode("utf-8", "replace")
