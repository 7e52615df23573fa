"""What must be fetched and what lies on the disk: keshin for inference beside open_clip.

    python benchmarks/install_size.py --keshin PYTHON --peer PYTHON --cpu-torch PYTHON

Each PYTHON is the interpreter of an environment that holds the package; a package's size is that of
the files that it and all it requires (without extras) have installed. PyTorch counts as its CPU
build, from the environment that has one, without the packages of its CUDA build. The download is
what ``pip download`` of this source tree and its requirements brings. Writes
results/install_size.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PEER_DOWNLOAD = 3.04e9
"""Bytes of open_clip's default Linux install (with CUDA), as the issue states them."""
CLOSURE = """
import importlib.metadata as metadata, json, re, sys
from packaging.requirements import Requirement
def name(text): return re.sub(r"[-_.]+", "-", text).lower()
found, todo, without = {}, [name(sys.argv[1])], set(sys.argv[2:])
while todo:
    one = todo.pop()
    if one in found or one in without:
        continue
    try:
        package = metadata.distribution(one)
    except metadata.PackageNotFoundError:
        continue
    found[one] = sum(f.locate().stat().st_size for f in package.files or () if f.locate().is_file())
    for line in package.requires or ():
        need = Requirement(line)
        if need.marker is None or need.marker.evaluate({"extra": ""}):
            todo.append(name(need.name))
print(json.dumps(found))
"""


def closure(python: str, package: str, without: tuple[str, ...] = ()) -> dict[str, int]:
    """Bytes of a package and of each that it requires."""
    command = [python, "-c", CLOSURE, package, *without]
    found: dict[str, int] = json.loads(subprocess.check_output(command))
    return found


def download() -> int:
    """Bytes that pip fetches or builds for a plain install."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "-q", "-d", folder, str(ROOT)]
        subprocess.run(command, check=True)
        return sum(path.stat().st_size for path in Path(folder).iterdir())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for option in ("--keshin", "--peer", "--cpu-torch"):
        parser.add_argument(option, required=True)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/install_size.json")
    options = parser.parse_args()
    ours = closure(options.keshin, "keshin")
    torch = closure(options.cpu_torch, "torch")
    peer = closure(options.peer, "open-clip-torch", ("torch",)) | torch
    fetched = download()
    content = {
        "installed": {"keshin": sum(ours.values()), "open_clip with CPU torch": sum(peer.values())},
        "installed_ratio": round(sum(ours.values()) / sum(peer.values()), 3),
        "download": fetched,
        "download_of_peer": PEER_DOWNLOAD,
        "download_ratio": round(fetched / PEER_DOWNLOAD, 4),
        "largest": dict(sorted(ours.items(), key=lambda item: -item[1])[:8]),
    }
    options.out.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    print(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
