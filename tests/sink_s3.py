"""An S3 that takes uploads and keeps nothing but their sizes: what a client costs by itself. PYTEST_DONT_REWRITE

    with sink() as endpoint_url: ...

A process of its own. Signatures are not looked at; HEAD tells how many bytes an object got.
"""

import contextlib
import subprocess
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BLOCK_BYTES = 1 << 20
STARTED = b"<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>"
COMPLETED = b"<CompleteMultipartUploadResult><ETag>&quot;0-1&quot;</ETag></CompleteMultipartUploadResult>"
SIZES = Counter()
LOCK = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        self.block = memoryview(bytearray(BLOCK_BYTES))

    def do_PUT(self):
        size = self.receive()
        with LOCK:
            SIZES[self.path.partition("?")[0]] += size
        self.answer()

    def do_POST(self):
        self.receive()
        self.answer(STARTED if self.path.endswith("?uploads") or "uploads=" in self.path else COMPLETED)

    def do_GET(self):
        """What uploads are unfinished: none."""
        self.answer(b"<ListMultipartUploadsResult/>")

    def do_HEAD(self):
        self.answer(length=SIZES[self.path])

    def receive(self):
        size = left = int(self.headers.get("Content-Length", 0))
        while left:
            left -= self.rfile.readinto(self.block[: min(left, BLOCK_BYTES)])
        return size

    def answer(self, body=b"", length=None):
        self.send_response(200)
        self.send_header("ETag", '"0"')
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Nothing."""


@contextlib.contextmanager
def sink():
    """Its URL, while it runs."""
    with subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.kill()


if __name__ == "__main__":
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()
