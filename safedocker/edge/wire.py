"""How an engine is spoken to: transports, time-outs, and a sentence for each way that fails.

The only importer of the docker SDK, of which it takes the socket transports. What is said to the
engine, and what the answers mean, is engine.py's.
"""

from __future__ import annotations

import contextlib
import math
import os
import shlex
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import urlsplit

import docker.transport
import requests
import urllib3
import urllib3.connection

from safedocker.edge.address import Address
from safedocker.errors import NoEngine, SafedockerError

CONNECT = 10.0  # seconds, at most, for a connection to stand
POOL = 10  # connections kept; as many threads may ask at the same time
FAULTS = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)
SENTENCES: tuple[tuple[type[OSError], str], ...] = (
    (socket.gaierror, "the host of the engine at {host} is not known"),
    (PermissionError, "you may not open the Docker socket at {host}"),
    (FileNotFoundError, "there is no Docker engine at {host}: no such socket"),
    (ConnectionRefusedError, "there is no Docker engine at {host}: the connection was refused"),
)

Params = Mapping[str, Any]


class Wire:
    """A connection to one engine. Safe to use from several threads."""

    def __init__(self, address: Address, timeout: float) -> None:
        self._address = address
        self._timeout = timeout
        self._ssh: _Ssh | None = None
        self._session = requests.Session()
        self._session.auth = _no_netrc
        self._session.headers.update(dict(address.headers))
        self._session.headers["Accept-Encoding"] = "identity"  # gzip would cost the engine's CPU
        # As Docker's client: a proxy from the environment counts for a remote TCP address only.
        self._session.trust_env = address.remote and address.host.startswith("tcp:")
        self._verify: bool | str = True
        self._base = self._prepare()
        self.api = (0, 0)

    def _prepare(self) -> str:
        """Mount the transport and return the address that requests shall use."""
        scheme, _, rest = self._address.host.partition("://")
        tls = self._address.tls
        if scheme == "unix":
            path = os.path.abspath(rest)
            self._session.mount("http+docker://", _SocketAdapter(_dial_unix(path), self._timeout))
            return "http+docker://localhost"
        if scheme == "ssh":
            self._ssh = _Ssh(self._address.host)
            self._session.mount("http+docker://", _SocketAdapter(self._ssh, self._timeout))
            return "http+docker://localhost"
        if scheme == "npipe" and hasattr(docker.transport, "NpipeHTTPAdapter"):
            adapter = docker.transport.NpipeHTTPAdapter(
                self._address.host, math.ceil(self._timeout), max_pool_size=POOL
            )
            self._session.mount("http+docker://", adapter)
            return "http+docker://localnpipe"
        if scheme not in {"tcp", "http", "https"}:
            raise NoEngine(
                f"an engine at {self._address.host} can't be asked: safedocker does not speak "
                f"{scheme}://",
                self._hint(),
            )
        if tls is not None:
            self._verify = (tls.ca or True) if tls.verify else False
            if tls.cert and tls.key:
                self._session.cert = (tls.cert, tls.key)
            if not tls.verify:
                urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        secure = tls is not None or scheme == "https"
        return f"{'https' if secure else 'http'}://{rest}".rstrip("/")

    def connect(self) -> str:
        """Return the engine's version, and speak the highest API it knows from then on."""
        answer = self.json("GET", "/version", "say its version")
        try:
            major, minor = str(answer["ApiVersion"]).split(".")
            self.api = (int(major), int(minor))
        except (KeyError, TypeError, ValueError):
            raise NoEngine(
                f"what answers at {self._address.host} is no Docker engine", self._hint()
            ) from None
        self._base += f"/v{major}.{minor}"
        return str(answer.get("Version", ""))

    def close(self) -> None:
        """Hang up."""
        self._session.close()
        if self._ssh is not None:
            self._ssh.close()

    def json(
        self,
        method: str,
        path: str,
        what: str,
        params: Params | None = None,
        *,
        allowed: Container[int] = (),
        timeout: float | None = None,
    ) -> Any:
        """Return the answer's JSON; None for a status of `allowed`. Raise NoEngine otherwise."""
        answer = self.find(method, path, what, params, allowed=allowed, timeout=timeout)
        if answer is None:
            return None
        try:
            return answer.json()
        except ValueError:
            raise NoEngine(
                f"the engine at {self._address.host} gave an answer that can't be read when asked "
                f"to {what}",
                self._hint(),
            ) from None

    def find(
        self,
        method: str,
        path: str,
        what: str,
        params: Params | None = None,
        *,
        body: Mapping[str, Any] | None = None,
        allowed: Container[int] = (404,),
        timeout: float | None = None,
        kind: type[SafedockerError] = NoEngine,
    ) -> requests.Response | None:
        """As `call`, with None for a status of `allowed`."""
        answer = self._ask(method, path, params, json=body, timeout=timeout)
        if answer.status_code in allowed:
            return None
        return self._accepted(answer, what, kind)

    def call(
        self,
        method: str,
        path: str,
        what: str,
        params: Params | None = None,
        *,
        body: Mapping[str, Any] | None = None,
        data: bytes | None = None,
        timeout: float | None = None,
        kind: type[SafedockerError] = NoEngine,
    ) -> requests.Response:
        """Ask the engine to `what`; `timeout` is the seconds it may be silent.

        Raise NoEngine when it does not answer, and `kind` when it answers with a refusal.
        """
        answer = self._ask(method, path, params, json=body, data=data, timeout=timeout)
        return self._accepted(answer, what, kind)

    def send(
        self,
        path: str,
        what: str,
        params: Params,
        chunks: Iterable[bytes],
        *,
        method: str = "PUT",
        timeout: float,
        kind: type[SafedockerError],
    ) -> None:
        """Send a stream. What `chunks` raises passes through as it is."""
        raised: list[BaseException] = []

        def watched() -> Iterator[bytes]:
            try:
                # An empty chunk would end the body early.
                yield from filter(None, chunks)
            except BaseException as error:
                raised.append(error)
                raise

        try:
            answer = self._ask(method, path, params, data=watched(), timeout=timeout, sends=True)
        except NoEngine:
            if raised:
                raise raised[0] from None
            raise
        self._accepted(answer, what, kind)

    @contextlib.contextmanager
    def reading(
        self,
        path: str,
        what: str,
        params: Params,
        *,
        method: str = "GET",
        size: int,
        timeout: float,
        kind: type[SafedockerError],
    ) -> Iterator[Iterator[bytes]]:
        """Give the body of an answer in pieces of `size` bytes and a little more, the last shorter.

        While they are read, NoEngine is raised when the body is cut or the engine falls silent.
        """
        answer = self._ask(method, path, params, timeout=timeout, stream=True)
        with contextlib.closing(self._accepted(answer, what, kind)):
            yield self._pieces(answer, size)

    @contextlib.contextmanager
    def upgraded(
        self, path: str, what: str, body: Mapping[str, Any], *, kind: type[SafedockerError]
    ) -> Iterator[tuple[socket.socket, bytes]]:
        """Give the bare connection that a POST becomes, and what came on it already.

        Only where whoever answers is no engine, or one behind a proxy that knows no upgrade, is
        `kind` raised besides what `call` raises.
        """
        headers = {"Connection": "Upgrade", "Upgrade": "tcp"}
        answer = self._ask(
            "POST", path, None, timeout=None, json=body, headers=headers, stream=True
        )
        with contextlib.closing(self._accepted(answer, what, kind)):
            if answer.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
                raise kind(
                    f"what answers at {self._address.host} keeps no connection open", self._hint()
                )
            # The SDK does the same. What came with the headers is in the reader before the socket.
            reader: Any = answer.raw._fp
            bare: socket.socket = reader.fp.raw._sock
            bare.setblocking(False)
            first = b""
            with contextlib.suppress(ssl.SSLWantReadError):  # nothing was in the reader
                first = reader.fp.read1() or b""
            yield bare, first

    def silent(self, seconds: float) -> NoEngine:
        """The fault of an engine that says nothing more."""
        return NoEngine(
            f"the engine at {self._address.host} said nothing for {seconds:.0f} s", self._hint()
        )

    def cut(self, error: OSError) -> NoEngine:
        """The fault of a connection that broke."""
        return NoEngine(
            f"the engine at {self._address.host} stopped sending in the middle{_reason(error)}",
            self._hint(),
        )

    def _pieces(self, answer: requests.Response, size: int) -> Iterator[bytes]:
        parts: list[bytes] = []
        held = 0
        try:
            for part in answer.iter_content(size):
                parts.append(part)
                held += len(part)
                if held >= size:
                    yield b"".join(parts)
                    parts, held = [], 0
        except FAULTS as error:
            raise NoEngine(
                f"the engine at {self._address.host} stopped sending in the middle{_reason(error)}",
                self._hint(),
            ) from error
        if parts:
            yield b"".join(parts)

    def _ask(
        self,
        method: str,
        path: str,
        params: Params | None,
        *,
        timeout: float | None,
        sends: bool = False,
        **more: Any,
    ) -> requests.Response:
        patience = self._timeout if timeout is None else timeout
        # What is sent is under the connect time-out, and a slow disk may make the engine pause.
        connect = patience if sends else min(patience, CONNECT)
        try:
            return self._session.request(
                method,
                self._base + path,
                params=params,
                timeout=(connect, patience),
                verify=self._verify,
                allow_redirects=False,
                **more,
            )
        except FAULTS as error:
            raise self._fault(error, patience) from error

    def _accepted(
        self, answer: requests.Response, what: str, kind: type[SafedockerError]
    ) -> requests.Response:
        if answer.status_code < 300 or answer.status_code == 304:  # 304: it is so already
            return answer
        try:
            said = str(answer.json()["message"])
        except (ValueError, KeyError, TypeError, *FAULTS):
            said = answer.reason or str(answer.status_code)
        said = " ".join(said.split()).rstrip(".")
        raise kind(f"the engine at {self._address.host} would not {what}: {said}", self._hint())

    def _hint(self) -> str:
        return f"the address comes from {self._address.source}"

    def _fault(self, error: BaseException, patience: float) -> NoEngine:
        """Say in a sentence why there was no answer."""
        host, hint = self._address.host, self._hint()
        if self._ssh is not None:
            said = self._ssh.last_words()
            return NoEngine(
                f"there is no way to the engine at {host}{f': {said}' if said else _reason(error)}",
                f"this has to work: {self._ssh.shown}; {hint}",
            )
        causes = list(_causes(error))
        for cause in causes:
            if isinstance(cause, ssl.SSLError):
                return NoEngine(
                    f"TLS with the engine at {host} failed: {_said(cause)}",
                    f"--tlscacert, --tlscert and --tlskey, or DOCKER_CERT_PATH, say which "
                    f"certificates are used; {hint}",
                )
            if type(cause) is OSError and cause.errno is None:  # requests, for a missing file
                return NoEngine(f"TLS with the engine at {host} failed: {cause}", hint)
            for kind, sentence in SENTENCES:
                if isinstance(cause, kind):
                    return NoEngine(sentence.format(host=host), hint)
        if any(isinstance(cause, TimeoutError | requests.Timeout) for cause in causes):
            return NoEngine(f"the engine at {host} did not answer within {patience:.0f} s", hint)
        return NoEngine(f"the engine at {host} went away{_reason(error)}", hint)


def _reason(error: BaseException) -> str:
    said = next((c.strerror for c in _causes(error) if isinstance(c, OSError) and c.strerror), "")
    return f": {said}" if said else ""


def _said(error: ssl.SSLError) -> str:
    return str(getattr(error, "verify_message", "") or error.reason or error)


def _no_netrc(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Stand in for requests' own habit of sending the passwords of ~/.netrc."""
    return request


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and what is wrapped in it, outermost first."""
    for _ in range(10):
        if error is None:
            return
        yield error
        reason = getattr(error, "reason", None)
        wrapped = [one for one in (reason, *error.args) if isinstance(one, BaseException)]
        error = wrapped[0] if wrapped else error.__cause__ or error.__context__


class _Dial(Protocol):
    """Makes a connected socket, and hangs up what stands behind it."""

    def __call__(self, timeout: float) -> tuple[socket.socket, Callable[[], None]]: ...


class _Connection(urllib3.connection.HTTPConnection):
    """HTTP over a socket that somebody else makes."""

    def __init__(self, dial: _Dial, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._dial = dial
        self._dial_timeout = timeout
        self._hang_up: Callable[[], None] = lambda: None

    def connect(self) -> None:
        self.sock, self._hang_up = self._dial(self._dial_timeout)

    def close(self) -> None:
        super().close()
        self._hang_up()


class _Pool(urllib3.connectionpool.HTTPConnectionPool):
    def __init__(self, dial: _Dial, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout, maxsize=POOL)
        self._made_with = (dial, timeout)

    def _new_conn(self) -> _Connection:
        return _Connection(*self._made_with)


class _SocketAdapter(docker.transport.UnixHTTPAdapter):
    """The SDK's own leaves a socket open when it can't connect, and starts an ssh a request."""

    def __init__(self, dial: _Dial, timeout: float) -> None:
        super().__init__("http+unix:///", math.ceil(timeout))
        self._pool = _Pool(dial, timeout)

    def get_connection(self, url: Any, proxies: Any = None) -> Any:
        return self._pool

    def close(self) -> None:
        super().close()
        self._pool.close()


def _dial_unix(path: str) -> _Dial:
    def dial(timeout: float) -> tuple[socket.socket, Callable[[], None]]:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(timeout)
            connection.connect(path)
        except BaseException:
            connection.close()
            raise
        return connection, lambda: None

    return dial


class _Ssh:
    """Starts ssh as Docker's client does, with `docker system dial-stdio` at the far end.

    The process gets one end of a socket pair, so that the other is a socket and time-outs hold.
    Source: docker/cli cli/connhelper/connhelper.go.
    """

    def __init__(self, host: str) -> None:
        parts = urlsplit(host)
        to = ["-l", parts.username] if parts.username else []
        to += ["-p", str(parts.port)] if parts.port else []
        far = ["docker", "system", "dial-stdio"]
        if parts.path.strip("/"):
            far[1:1] = ["--host", f"unix://{parts.path}"]
        to += ["--", parts.hostname or ""]
        self._argv = ["ssh", "-o", "ConnectTimeout=30", "-T", *to, *far]
        self.shown = shlex.join(["ssh", *to, "docker", "version"])
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`

    def __call__(self, timeout: float) -> tuple[socket.socket, Callable[[], None]]:
        ours, theirs = socket.socketpair()
        ours.settimeout(timeout)
        with theirs:
            try:
                process = subprocess.Popen(
                    self._argv, stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=self._words
                )
            except BaseException:
                ours.close()
                raise

        def hang_up() -> None:
            process.terminate()
            process.wait()

        return ours, hang_up

    def last_words(self) -> str:
        """Return the last line that ssh wrote."""
        self._words.seek(0)
        lines = self._words.read().decode(errors="replace").splitlines()
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def close(self) -> None:
        """Forget what ssh wrote."""
        self._words.close()
