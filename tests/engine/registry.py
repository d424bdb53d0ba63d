"""A registry that holds one image and is only read from: what an engine asks of it to pull.

registry.py PORT NAME ROOTFS.tar        until it is killed; "ready" on standard output
"""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

KIND = "application/vnd.docker.distribution.manifest.v2+json"


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def held(rootfs: bytes) -> tuple[bytes, dict[str, bytes]]:
    """An image of one layer: its manifest, and everything by digest."""
    layer = gzip.compress(rootfs)
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["sh"]},
            "rootfs": {"type": "layers", "diff_ids": [digest(rootfs)]},
        }
    ).encode()
    kinds = {
        "application/vnd.docker.container.image.v1+json": config,
        "application/vnd.docker.image.rootfs.diff.tar.gzip": layer,
    }
    told = [
        {"mediaType": kind, "size": len(content), "digest": digest(content)}
        for kind, content in kinds.items()
    ]
    manifest = json.dumps(
        {"schemaVersion": 2, "mediaType": KIND, "config": told[0], "layers": told[1:]}
    ).encode()
    return manifest, {digest(content): content for content in (manifest, config, layer)}


def serve(port: int, name: str, rootfs: bytes) -> None:
    manifest, blobs = held(rootfs)
    repository, _, tag = name.partition(":")
    tagged = f"/v2/library/{repository}/manifests/{tag}"

    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            last = self.path.partition("?")[0].rpartition("/")[2]
            body = manifest if self.path.startswith(tagged) else blobs.get(last)
            if self.path == "/v2/":
                body = b"{}"
            self.send_response(404 if body is None else 200)
            kind = KIND if body is manifest else "application/octet-stream"
            self.send_header("Content-Type", kind)
            self.send_header("Docker-Content-Digest", digest(body or b""))
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body or b"")

        do_HEAD = do_GET  # noqa: N815 - so it is called

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", port), Answers)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    serve(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]).read_bytes())
