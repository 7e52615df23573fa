"""Models over 2 GB: the weights stay in their file, mapped; loading needs little more than the file.

The file is sparse (a hole reads as zeros), so that it takes no room on the disk; its pages count as
memory all the same once they are read. A process of its own loads it and says its peak.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import keshin
from conftest import tiny_config
from keshin.core.checkpoint import FACTS, TOKENIZER, WEIGHTS
from keshin.core.config import VisionTransformer, dump_config
from keshin.core.shapes import named_shapes

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="reads /proc"),
]
BYTES = {"F32": 4, "F16": 2, "BF16": 2}
CHILD = """
import json, sys
import numpy as np
from keshin.core.checkpoint import load_checkpoint
from keshin.encode.runtime import OnnxTowers

def kilobytes(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))

checkpoint = load_checkpoint(sys.argv[1])
before = kilobytes("VmRSS")
towers = OnnxTowers(checkpoint, threads=2, prepack=sys.argv[2] == "prepack")
towers._images
loaded = {"peak": kilobytes("VmHWM"), "anonymous": kilobytes("RssAnon")}
features = towers.image_features(np.zeros((1, 3, *checkpoint.config.vision.image_size), np.float32))
print(json.dumps({"before": before, **loaded, "used": kilobytes("VmHWM"), "zero": not features.any()}))
"""


def sparse_checkpoint(folder, tokenizer, dtype, layers):
    """A checkpoint of zeros, but for one byte a matrix; a block of this width has 201 MB of float32."""
    vision = VisionTransformer(
        image_size=(16, 16), patch_size=8, width=2048, layers=layers, heads=32, mlp_width=8192,
        activation="gelu", layer_norm_eps=1e-5,
    )  # fmt: skip
    config = tiny_config(tokenizer, vision=vision)
    header, end = {}, 0
    for name, shape in named_shapes(config):
        size = BYTES[dtype] * int(np.prod(shape, dtype=np.int64))
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": (end, end + size)}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % 64)
    folder.mkdir()
    with (folder / WEIGHTS).open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
        for index, entry in enumerate(header.values()):  # or ONNX Runtime would keep one for all
            if entry["data_offsets"][1] - entry["data_offsets"][0] > 10**6:
                file.seek(8 + len(text) + entry["data_offsets"][0] + 2 * index)
                file.write(b"\1")
    (folder / FACTS).write_bytes(dump_config(config))
    tokenizer.save(folder / TOKENIZER)
    return folder


def measure(folder, prepack):
    """What the child says, in bytes."""
    environment = {**os.environ, "PYTHONPATH": str(Path(keshin.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(folder), "prepack" if prepack else "as they are"],
        env=environment, capture_output=True, text=True, timeout=1200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.pop("zero")
    return {name: value * 1024 for name, value in found.items()}


@pytest.mark.parametrize("prepack", [False, True], ids=["as they are", "prepacked"])
@pytest.mark.parametrize(("dtype", "layers"), [("F32", 11), ("F16", 11), ("BF16", 11)])
def test_loading_takes_little_more_than_the_weights(
    tmp_path, tiny_tokenizer, dtype, layers, prepack
):
    folder = sparse_checkpoint(tmp_path / "large", tiny_tokenizer, dtype, layers)
    size = (folder / WEIGHTS).stat().st_size
    wide = size * 4 // BYTES[dtype]  # the file's weights in float32
    assert wide > 2 * 2**30
    found = measure(folder, prepack)
    print(
        dtype,
        prepack,
        f"{wide / 1e9:.2f} GB in float32",
        {n: f"{v / 1e9:.2f}" for n, v in found.items()},
    )
    assert found["peak"] < 1.2 * wide
    assert found["used"] < 1.2 * wide
