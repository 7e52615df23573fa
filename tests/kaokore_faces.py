"""A miniature of KaoKore's official layout, with drawn pictures: no picture is KaoKore's."""

import hashlib
import io
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image

from keshin.facts import kaokore as facts

STATUS_JA = ("貴族", "武士", "化身", "庶民")
WORKS = 8
PER_WORK = 24
SIZE = 32


def jpeg(colour, size=(SIZE, SIZE), seed=0):
    rng = np.random.default_rng(seed)
    noise = rng.integers(-30, 30, (size[1], size[0], 3))
    pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def plan():
    """(number, work, status, gender, split) of each face: two incarnations in each five of a work, but
    works 0 and 1 hold one kind only."""
    found = []
    for work in range(WORKS):
        for place in range(PER_WORK):
            status = (0, 2, 1, 2, 3)[place % 5]
            status = {0: 2, 1: 0}.get(work, status)
            split = ("train", "train", "train", "dev", "test")[(place // 5 + work) % 5]
            found.append((work * PER_WORK + place, work, status, place % 2, split))
    return found


def picture(number, status):
    return jpeg((200, 60, 60) if status == 2 else (80, 120, 200), seed=number)


def official_files(server="http://127.0.0.1:1", entries=None, tag=""):
    """name -> bytes of the three official files. Picture 5 is an empty line, as in version 1.0."""
    entries = plan() if entries is None else entries
    labels, tags, urls = ["image,gender,status,set"], [], []
    for number, work, status, gender, split in entries:
        name = f"{number:08d}.jpg"
        if number != 5:
            labels.append(f"{name},{gender},{status},{split}")
            kind = ("鬼", "虫")[number % 2] if status == 2 else tag
            tags.append(
                f"{name}:タグ={kind};原典=作品{work};原典ID=ID@{work};向き=横;"
                f"性別={'男女'[gender]};所蔵=某館;身分={STATUS_JA[status]}"
            )
        address = f"{server}/p{work}.tif/{number},2,90,90/{SIZE},/0/default.jpg"
        urls.append("" if number == 5 else address)  # the cut tells the faces of a page apart
    return {
        facts.LABELS: ("\n".join(labels) + "\n").encode(),
        facts.TAGS: ("\n".join(tags) + "\n").encode(),
        facts.URLS: ("\n".join(urls) + "\n").encode(),
    }


def version_of(files, name="1.0"):
    entries = [line for line in files[facts.URLS].decode().splitlines() if line]
    return facts.Version(
        name=name, date="2020-01-01", folder="dataset", images=len(entries), unlisted=0,
        splits={}, status={}, sha256={n: hashlib.sha256(d).hexdigest() for n, d in files.items()},
    )  # fmt: skip


def miniature(root, pictures=True):
    """Write the layout; returns the folder."""
    (root / "images_256").mkdir(parents=True)
    for name, data in official_files().items():
        (root / name).write_bytes(data)
    if pictures:
        for number, _, status, _, _ in plan():
            if number != 5:
                (root / "images_256" / f"{number:08d}.jpg").write_bytes(picture(number, status))
    return root


class Holder:
    """A server with label files and pictures, with faults on demand.

    ``faults``: number of a picture, or name of a file -> a list of answers, one a request, in its
    stead: (status, headers, body) or a function of the handler. ``requests``: (time, path, agent).
    """

    def __init__(self):
        self.faults, self.requests, self.files, self.open, self.most_open = {}, [], {}, 0, 0
        self.lock = threading.Lock()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_port}"

    def numbers(self):
        return [int(p.split("/")[-4].split(",")[0]) for _, p, _ in self.requests if ".tif/" in p]


def _handler(holder):
    status_of = {number: status for number, _, status, _, _ in plan()}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_GET(self):
            with holder.lock:
                holder.requests.append((time.monotonic(), self.path, self.headers["User-Agent"]))
                holder.open += 1
                holder.most_open = max(holder.open, holder.most_open)
            try:
                self.answer()
            finally:
                with holder.lock:
                    holder.open -= 1

        def answer(self):
            if ".tif/" in self.path:
                key = int(self.path.split("/")[-4].split(",")[0])
                body = picture(key, status_of[key])
            else:
                key = self.path.rpartition("/")[2]
                body = holder.files.get(key)
            queue = holder.faults.get(key)
            if queue:
                fault = queue.pop(0) if len(queue) > 1 or queue[0] is None else queue[0]
                if fault is not None:
                    return fault(self, body) if callable(fault) else self.say(*fault)
            return self.say(200, {}, body) if body is not None else self.say(404, {}, b"no")

        def say(self, status, headers, body, length=None):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body) if length is None else length))
            self.end_headers()
            self.wfile.write(body)

    return Handler


@contextmanager
def serve():
    holder = Holder()
    holder.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(holder))
    holder.server.daemon_threads = True
    thread = threading.Thread(target=holder.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    holder.files = official_files(holder.url)
    try:
        yield holder
    finally:
        holder.server.shutdown()
        thread.join()
        holder.server.server_close()
