"""A container registry on this machine, with trouble to order: `with ImageRegistry() as registry: registry.push("me/tool")`.

OCI's distribution API as far as engines pull by it: manifests, blobs, basic authentication or tokens. Docker takes any
registry in 127.0.0.0/8 without TLS.
"""

import base64
import gzip
import hashlib
import io
import json
import re
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"


class ImageRegistry:
    """The registry. `login`: user name and password that pulls need, by "basic" or "token" `scheme`; None: none.

    `fail(pattern, *statuses)` answers the next requests whose path matches with these statuses, one each; a status of 0
    ends the connection without an answer. `blob_pause_s` passes before each 64 kB of a blob; `hold` (an event) is waited
    for before a blob is sent. `requests` are the paths that were asked for.
    """

    def __init__(self, *, login=None, scheme="basic") -> None:
        self.login = login
        self.scheme = scheme
        self.blob_pause_s = 0.0
        self.hold = threading.Event()
        self.hold.set()
        self.requests = []
        self.aborted = threading.Event()
        self._blobs = {}
        self._manifests = {}
        self._failures = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"registry": self}))
        self._server.daemon_threads = True
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.hold.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def push(self, name, tag="latest", *, layers=(b"",), architecture="amd64", listed_for=None) -> str:
        """An image of layers with one file each, of these bytes; its manifest's digest.

        `listed_for`: the manifest is one of a list, for that architecture only.
        """
        tars = [_layer(number, data) for number, data in enumerate(layers)]
        config = {
            "architecture": architecture,
            "os": "linux",
            "config": {"Cmd": ["/file-0"], "Labels": {"test": self.host}},
            "rootfs": {"type": "layers", "diff_ids": [_digest(tar) for tar in tars]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": self._blob(json.dumps(config).encode(), "application/vnd.docker.container.image.v1+json"),
            "layers": [
                self._blob(gzip.compress(tar, 1), "application/vnd.docker.image.rootfs.diff.tar.gzip") for tar in tars
            ],
        }
        digest = self._keep(name, tag, manifest)
        if listed_for is not None:
            size = len(self._manifests[name, digest][1])
            entry = {"mediaType": _MANIFEST, "digest": digest, "size": size}
            entry["platform"] = {"os": "linux", "architecture": listed_for}
            digest = self._keep(name, tag, {"schemaVersion": 2, "mediaType": _LIST, "manifests": [entry]})
        return digest

    def fail(self, pattern, *statuses) -> None:
        """Order trouble."""
        self._failures += [(re.compile(pattern), status) for status in statuses]

    def trouble(self, path):
        """The status that was ordered for this request, if any."""
        for failure in self._failures:
            if failure[0].search(path):
                self._failures.remove(failure)
                return failure[1]
        return None

    def blob(self, digest):
        """The bytes of a blob, or None."""
        return self._blobs.get(digest)

    def manifest(self, name, version):
        """Media type and bytes of a manifest, or None."""
        return self._manifests.get((name, version))

    def allows(self, header) -> bool:
        """Whether a request with this Authorization may pass."""
        if self.login is None:
            return True
        given = "Bearer good" if self.scheme == "token" else f"Basic {self.basic}"
        return header == given

    @property
    def basic(self) -> str:
        """The login as basic authentication has it."""
        return base64.b64encode(":".join(self.login).encode()).decode()

    def _blob(self, data, media_type):
        self._blobs[_digest(data)] = data
        return {"mediaType": media_type, "size": len(data), "digest": _digest(data)}

    def _keep(self, name, tag, manifest):
        data = json.dumps(manifest).encode()
        for version in (tag, _digest(data)):
            self._manifests[name, version] = (manifest["mediaType"], data)
        return _digest(data)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    registry: ImageRegistry

    def do_GET(self) -> None:
        registry, path = self.registry, self.path
        registry.requests.append(path)
        status = registry.trouble(path)
        if status == 0:
            self.close_connection = True
        elif status is not None:
            self._refuse(status, "UNKNOWN", "ordered by the test")
        elif path.startswith("/token"):
            good = self.headers["Authorization"] == f"Basic {registry.basic}"
            if good:
                self._answer(200, "application/json", b'{"token": "good"}')
            else:
                self._refuse(401, "UNAUTHORIZED", "wrong user name or password")
        elif not registry.allows(self.headers["Authorization"]):
            realm = (
                f'Bearer realm="http://{registry.host}/token",service="test"'
                if registry.scheme == "token"
                else 'Basic realm="test"'
            )
            self._refuse(401, "UNAUTHORIZED", "authentication required", {"WWW-Authenticate": realm})
        elif path.rstrip("/") == "/v2":
            self._answer(200, "application/json", b"{}")
        elif found := re.fullmatch(r"/v2/(.+)/manifests/(.+)", path):
            manifest = registry.manifest(*found.groups())
            if manifest is None:
                self._refuse(404, "MANIFEST_UNKNOWN", "manifest unknown")
            else:
                self._answer(200, manifest[0], manifest[1], {"Docker-Content-Digest": _digest(manifest[1])})
        elif found := re.fullmatch(r"/v2/.+/blobs/(.+)", path):
            self._send_blob(registry.blob(found[1]))
        else:
            self._refuse(404, "NAME_UNKNOWN", "no such path")

    do_HEAD = do_GET

    def log_message(self, *_) -> None:
        """Say nothing."""

    def _send_blob(self, data):
        if data is None:
            self._refuse(404, "BLOB_UNKNOWN", "no such blob")
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.registry.hold.wait(60)
        try:
            for start in range(0, len(data), 1 << 16):
                time.sleep(self.registry.blob_pause_s)  # a slow line
                self.wfile.write(data[start : start + (1 << 16)])
        except OSError:
            self.registry.aborted.set()
            self.close_connection = True

    def _refuse(self, status, code, message, headers=None):
        body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
        self._answer(status, "application/json", body, headers)

    def _answer(self, status, media_type, body, headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


def _layer(number, data) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo(f"file-{number}")
        info.size, info.mode = len(data), 0o755
        tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def _digest(data) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()
