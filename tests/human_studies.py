"""Studies for tests: folders of made pictures, people who answer by rule, and a server."""

import http.client
import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

import keshin
from keshin.evaluate.human.sitting import Answered, Begun, Finished
from keshin.evaluate.human.study import now


def made_folder(root, names, count, size=(40, 30)):
    rng = np.random.default_rng(len(names))
    for name in names:
        (root / name).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{name}-{number}.png")
    return root


def answer_all(journal, choose, *, rounds=None, finish=False):
    """Go through a study; ``choose(shots, question, target)`` gives a class or None."""
    sitting = journal.sitting
    while sitting.phase in ("intro", "question"):
        shots = sitting.study.rounds[sitting.round]
        if rounds is not None and shots not in rounds:
            return
        if sitting.phase == "intro":
            event = Begun(shots=shots, at=now())
        else:
            question = sitting.upcoming()[0]
            choice = choose(shots, question, sitting.study.questions[question].target)
            event = Answered(shots=shots, question=question, choice=choice, seconds=2.5, at=now())
        journal.record(event, sitting.revision)
    if finish:
        journal.record(Finished(at=now()), sitting.revision)


class Server:
    """``keshin human`` in a process of its own."""

    def __init__(self, process, url):
        self.process, self.url = process, url
        parts = urlsplit(url)
        self.host, self.port, self.base = parts.hostname, parts.port, parts.path

    def request(self, method, path, body=None, headers=None, *, raw=False):
        """(status, headers, content) of one request; ``path`` is sent as it is where ``raw``."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=20)
        own = {"Host": f"{self.host}:{self.port}"}
        if method == "POST":
            own |= {
                "Origin": f"http://{self.host}:{self.port}",
                "Content-Type": "application/json",
            }
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        target = path if raw else self.base + path
        given = {k: v for k, v in {**own, **(headers or {})}.items() if v is not None}
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in given.items():
            connection.putheader(name, value)
        if data is not None and "Content-Length" not in given:
            connection.putheader("Content-Length", str(len(data)))
        connection.endheaders()
        if data:
            connection.send(data)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, dict(answer.getheaders()), content

    def ask(self, method, path, body=None):
        status, _, content = self.request(method, path, body)
        return status, json.loads(content)


@contextmanager
def served(folder, *options, environment=None):
    """Start ``keshin human`` in ``folder`` and end it with Ctrl-C, unless it is dead already."""
    root = str(Path(keshin.__file__).parents[1])
    environment = {**os.environ, "PYTHONWARNINGS": "error", **(environment or {})}
    environment["PYTHONPATH"] = os.pathsep.join([root, environment.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "keshin", "human", *map(str, options), "--port", "0"]
    process = subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    url = process.stdout.readline().strip()
    if not url:
        raise AssertionError(process.communicate()[1])
    try:
        yield Server(process, url)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
        process.said = out + err
