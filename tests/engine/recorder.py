"""An engine that records what a real client asks of it and obeys nothing: nothing can be lost."""

from __future__ import annotations

import http.server
import json
import re
import socketserver
import sys
import threading
import urllib.parse
from typing import Any, NamedTuple

SPACE = "com.docker.compose"
PROJECT_LABEL = f"{SPACE}.project"
STACK_LABEL = "com.docker.stack.namespace"
_CHANGES = re.compile(
    r"/(prune|leave|stop|kill|restart|start|update)$|^/containers/create$|^/volumes/create$"
)


class Seen(NamedTuple):
    """One request that would change something; `body` only where a test looks at it."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    body: Any


class Recorder(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """It has one container and one volume per Compose project, and whatever else is named."""

    daemon_threads = True

    def __init__(self, path: str) -> None:
        super().__init__(path, _Handler)
        self.seen: list[Seen] = []
        self.stopped: set[str] = set()  # containers, since `seen` was cleared
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone does not mind; everything else is a fault of ours."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Recorder

    def address_string(self) -> str:
        return "client"

    def log_message(self, *_args: object) -> None:
        pass

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self) -> None:
        body = self._body()
        url = urllib.parse.urlsplit(self.path)
        path = url.path
        if path.startswith("/v1."):
            path = path[path.index("/", 1) :]
        query = tuple(sorted(urllib.parse.parse_qsl(url.query, keep_blank_values=True)))
        status, said = self._reply(path, query, body)
        self.send_response(status)
        for name, value in (
            ("Api-Version", "1.51"),
            ("Docker-Experimental", "true"),
            ("OSType", "linux"),
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(said))),
        ):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(said.encode())

    def _reply(self, path: str, query: tuple[tuple[str, str], ...], body: bytes) -> tuple[int, str]:
        if path == "/_ping":
            return 200, "OK"
        changes = self.command in ("DELETE", "PUT") or (
            self.command == "POST" and _CHANGES.search(path)
        )
        if changes or (self.command == "GET" and path.endswith("/archive")):
            creates = (self.command, path) == ("POST", "/containers/create")
            made = json.loads(body) if creates else None
            self.server.seen.append(Seen(self.command, urllib.parse.unquote(path), query, made))
        if self.command == "GET":
            found = self._found(path, dict(query))
            if found is not None:
                return 200, json.dumps(found)
        elif self.command == "DELETE":
            return 200, "[]" if path.startswith("/images/") else "{}"
        elif path == "/containers/create":
            return 201, json.dumps({"Id": "newcontainer", "Warnings": []})
        elif path == "/networks/create":
            return 201, json.dumps({"Id": "net"})
        elif path == "/volumes/create":
            return 201, json.dumps({"Name": json.loads(body).get("Name", "v"), "Driver": "local"})
        elif path.endswith(("/prune", "/leave")):
            return 200, "{}"
        elif path.endswith("/wait"):
            return 200, json.dumps({"StatusCode": 0})
        elif path.endswith(("/stop", "/kill", "/start", "/restart", "/disconnect", "/connect")):
            if path.endswith(("/stop", "/kill")):
                self.server.stopped.add(path.split("/")[2])
            return 204, ""
        elif path.endswith(("/rename", "/pause", "/unpause")):
            return 204, ""
        elif self.command == "PUT":
            return 200, ""
        return 404, json.dumps({"message": "no such thing"})

    def _found(self, path: str, query: dict[str, str]) -> object:
        project = _label(query, PROJECT_LABEL)
        stack = _label(query, STACK_LABEL)
        own = {PROJECT_LABEL: project, f"{SPACE}.volume": "data"}
        if path == "/containers/json":
            if _label(query, f"{SPACE}.oneoff") == "True":
                return []
            return [_container(f"container-of-{project}", self.server.stopped)] if project else []
        if path == "/volumes":
            volume = {"Name": f"{project}_data", "Driver": "local", "Labels": own}
            return {"Volumes": [volume] if project else []}
        if path.startswith("/volumes/") and path.endswith("_data"):
            name = path.split("/")[2]
            labels = {PROJECT_LABEL: name.removesuffix("_data"), f"{SPACE}.volume": "data"}
            return {"Name": name, "Driver": "local", "Labels": labels}
        if path in ("/services", "/secrets", "/configs"):
            return [_kept(f"{path[1:4]}-{stack}")] if stack else []
        if path == "/networks":
            if stack:
                return [{"Id": f"net-{stack}", "Name": f"net-{stack}"}]
            wanted = json.loads(query.get("filters") or "{}").get("name", {})
            return [{"Id": "net", "Name": name, "Labels": own} for name in wanted]
        if path in ("/images/json", "/tasks", "/nodes"):
            return []
        if path.startswith("/services/"):
            return _kept(urllib.parse.unquote(path.split("/", 2)[2]))
        if re.fullmatch("/containers/(container-of-.*|newcontainer)/json", path):
            name = path.split("/")[2]
            listed = _container(name, self.server.stopped)
            state = {
                "Status": listed["State"],
                "Running": listed["State"] == "running",
                "StartedAt": "2026-01-01T00:00:00Z",
            }
            return {
                "Id": name,
                "Name": listed["Names"][0],
                "State": state,
                "Image": "sha256:1",
                "Config": {"Labels": listed["Labels"], "Image": "img"},
                "Mounts": [],
                "HostConfig": {"NetworkMode": "none"},
                "NetworkSettings": {"Networks": {}},
                "Created": "2026-01-01T00:00:00Z",
            }
        if re.fullmatch("/images/.*/json", path):
            return {
                "Id": "sha256:1",
                "Config": {},
                "ContainerConfig": {},
                "RepoTags": ["img:latest"],
                "Os": "linux",
            }
        if path == "/version":
            return {
                "ApiVersion": "1.51",
                "MinAPIVersion": "1.24",
                "Os": "linux",
                "Version": "28.5.2",
            }
        if path == "/info":
            return {"OSType": "linux", "Swarm": {}, "ServerVersion": "28.5.2"}
        return None

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815 - http.server's names


def _label(query: dict[str, str], name: str) -> str:
    labels = json.loads(query.get("filters") or "{}").get("label", {})
    return next((x[len(name) + 1 :] for x in labels if x.startswith(f"{name}=")), "")


def _container(name: str, stopped: set[str]) -> dict[str, Any]:
    project = name.removeprefix("container-of-")
    labels = {
        PROJECT_LABEL: project,
        f"{SPACE}.service": "web",
        f"{SPACE}.volume": "data",
        f"{SPACE}.container-number": "1",
        f"{SPACE}.oneoff": "False",
        f"{SPACE}.config-hash": "old",
        f"{SPACE}.version": "1.29.2",
    }
    return {
        "Id": name,
        "Names": [f"/{project}-web-1"],
        "Labels": labels,
        "Image": "img",
        "ImageID": "sha256:1",
        "State": "exited" if name in stopped else "running",
        "Created": 1,
        "Mounts": [],
        "NetworkSettings": {"Networks": {}},
    }


def _kept(name: str) -> dict[str, Any]:
    """A service, secret or config, as much of one as a client looks at."""
    spec = {"Name": name, "Mode": {"Replicated": {"Replicas": 3}}}
    return {"ID": name, "Version": {"Index": 1}, "Spec": spec}
