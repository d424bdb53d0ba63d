"""The ways a run can end other than well. Each kind knows its exit code; nothing here prints."""

import enum


class ExitCode(enum.IntEnum):
    """Exit codes of safedocker itself; after exec the code is the real binary's."""

    ERROR = 1
    USAGE = 2
    NO_ENGINE = 69
    BUG = 70
    NO_BACKUP = 73
    REFUSED = 77
    BAD_POLICY = 78
    NO_DOCKER = 127
    INTERRUPTED = 130


class SafedockerError(Exception):
    """A fault told to the person: one sentence of what happened, one of how to go on."""

    exit_code = ExitCode.ERROR

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class NoEngine(SafedockerError):  # noqa: N818 - named for what is missing, as the exit codes are
    """The engine cannot say what would be lost."""

    exit_code = ExitCode.NO_ENGINE


class NoAddress(NoEngine):
    """The real client finds no address to go to either: it will say so, and do nothing."""


class NoContext(NoAddress):
    """There is no context of that name."""


class Bug(SafedockerError):  # noqa: N818 - as NoEngine
    """A fault of ours, told as any other."""

    exit_code = ExitCode.BUG


class NoBackup(SafedockerError):  # noqa: N818 - as NoEngine
    """A backup failed or did not verify."""

    exit_code = ExitCode.NO_BACKUP


class NoWayRound(NoBackup):
    """A volume can't be copied as it stands, and another way of reading it would only hide that."""


class Changed(NoWayRound):
    """What is copied was changed meanwhile."""


class Refused(SafedockerError):  # noqa: N818 - as NoEngine
    """By policy, by the person, or because nobody could be asked."""

    exit_code = ExitCode.REFUSED


class BadPolicy(SafedockerError):  # noqa: N818 - as NoEngine
    """A policy value or file does not check."""

    exit_code = ExitCode.BAD_POLICY


class NoDocker(SafedockerError):  # noqa: N818 - as NoEngine
    """The real binary is gone, or a shim keeps finding itself."""

    exit_code = ExitCode.NO_DOCKER


class Interrupted(SafedockerError):  # noqa: N818 - as NoEngine
    """The person pressed Ctrl-C, or a signal asked safedocker to end, before exec."""

    exit_code = ExitCode.INTERRUPTED


class WouldFail(Exception):  # noqa: N818 - no fault of ours, and none that is told
    """The real command would fail by itself before it removes anything: let it."""
