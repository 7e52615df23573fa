"""One of several processes: a few steps, and what it sent over its sockets and asked to exchange.

torchrun ... exchanging.py RECIPE STEPS
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import torch.distributed as dist

from keshin.train.data import batches
from keshin.train.distributed import world
from keshin.train.recipe import read_recipe
from keshin.train.run import prepare
from keshin.train.step import take_step

SENT = 200  # the place of tcpi_bytes_sent in Linux's struct tcp_info


def sent() -> int:
    """Bytes that this process has sent over its TCP connections."""
    total = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            number = os.dup(int(name))
        except OSError:
            continue
        try:
            with socket.socket(fileno=number) as one:
                info = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 512)
                total += struct.unpack_from("Q", info, SENT)[0] if len(info) > SENT + 8 else 0
        except OSError:
            os.close(number)
    return total


def counted(name: str, seen: Counter[str]) -> None:
    """Count the calls of a collective of PyTorch."""
    real = getattr(dist, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        seen[name] += 1
        return real(*args, **kwargs)

    setattr(dist, name, call)


def main() -> None:
    recipe, steps = read_recipe(Path(sys.argv[1])), int(sys.argv[2])
    with world() as us:
        run = prepare(recipe, Path(os.devnull), us)
        seen: Counter[str] = Counter()
        for name in ("all_reduce", "all_gather", "broadcast", "reduce"):
            counted(name, seen)
        loader = iter(batches(run.pool, recipe, 0, steps + 2, us))
        for _ in range(2):  # DDP finds the order of its buckets in the first step
            take_step(run, next(loader))
        us.wait()
        before = sent()
        seen.clear()
        for _ in range(steps):
            take_step(run, next(loader))
        after = sent()
        calls = {name: count / steps for name, count in seen.items()}
        us.wait()
        found = json.dumps({"sent": (after - before) / steps, "calls": calls})
        # One write: processes share the pipe, and print sends the end of the line apart.
        os.write(sys.stdout.fileno(), f"COUNTED {found}\n".encode())


if __name__ == "__main__":
    main()
