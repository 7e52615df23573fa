"""A hub of one's own for tests: the parts of its interface that keshin uses, with faults on demand."""

import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def git_sha1(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Hub:
    """``files``: repository -> name -> bytes. A name that ends in .safetensors or .bin is LFS.

    ``faults``: name -> a list of functions, one for each request of that file in turn, that answer
    in its stead with ``(handler, data, start)``. ``requests``: what was asked, in order.
    """

    def __init__(self, files):
        self.files, self.faults, self.requests = files, {}, []
        self.listing_faults = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_port}"

    def asked(self, name):
        return [entry for entry in self.requests if entry[0].endswith(name)]


def say(handler, status, body=b"", **headers):
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), str(value))
    if "Content_Length" not in headers:
        handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def status(code, **headers):
    return lambda handler, _data, _start: say(handler, code, b"no", **headers)


def cut_after(count):
    """Promise the whole rest, send ``count`` bytes, and close the connection."""

    def answer(handler, data, start):
        extra = {"Content_Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if start else {}
        length = len(data) - start
        say(
            handler,
            206 if start else 200,
            data[start : start + count],
            Content_Length=length,
            **extra,
        )
        handler.close_connection = True

    return answer


def body(wrong, code=200):
    """Send something else, as if all were well."""
    return lambda handler, _data, _start: say(handler, code, wrong)


def whole(handler, data, _start):
    """A server that knows nothing of ranges."""
    say(handler, 200, data)


def redirect(target):
    return lambda handler, _data, _start: say(handler, 302, b"", Location=target)


def _handler(hub):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_GET(self):
            path = re.sub("^http://[^/]+", "", self.path.partition("?")[0])  # as a proxy is asked
            hub.requests.append(
                (path, self.headers.get("Range"), self.headers.get("Authorization"))
            )
            if path.startswith("/api/models/"):
                return self.listing(path.removeprefix("/api/models/").partition("/revision/")[0])
            repo, _, name = path.lstrip("/").partition("/resolve/")
            data = hub.files.get(repo, {}).get(name.partition("/")[2])
            if data is None:
                return say(self, 404, b"")
            start = int((self.headers.get("Range") or "bytes=0-").split("=")[1].split("-")[0])
            queue = hub.faults.get(name.partition("/")[2])
            if queue:
                return queue.pop(0)(self, data, start)
            if start >= len(data):
                return say(self, 416, b"")
            extra = {"Content_Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if start else {}
            return say(self, 206 if start else 200, data[start:], **extra)

        def listing(self, repo):
            if hub.listing_faults:
                return hub.listing_faults.pop(0)(self, b"", 0)
            if repo not in hub.files:
                return say(self, 404, b"{}", X_Error_Code="RepoNotFound")
            files = []
            for name, data in hub.files[repo].items():
                entry = {"rfilename": name, "size": len(data), "blobId": git_sha1(data)}
                if name.endswith((".safetensors", ".bin")):
                    entry["lfs"] = {"sha256": sha256(data), "size": len(data), "pointerSize": 130}
                files.append(entry)
            answer = {"id": repo, "sha": COMMIT, "siblings": files, "tags": [], "downloads": 0}
            return say(self, 200, json.dumps(answer).encode(), Content_Type="application/json")

    return Handler


@contextmanager
def serve(files):
    hub = Hub(files)
    hub.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.server.daemon_threads = True
    thread = threading.Thread(target=hub.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        hub.server.shutdown()
        thread.join()
        hub.server.server_close()
