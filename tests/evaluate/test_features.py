"""Features of pictures of any kind: kept by content, and not lost with the process."""

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import keshin
from keshin.api import Model
from keshin.encode.runtime import onnx_encoder
from keshin.errors import DataError
from keshin.evaluate.features import extract
from keshin.evaluate.sets.labelled import Labelled
from stub_towers import stub_encoder


def array(seed):
    return np.random.default_rng(seed).integers(0, 256, (20, 24, 3), np.uint8)


def encoded(seed):
    stream = io.BytesIO()
    Image.fromarray(array(seed)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def encoder(tiny_checkpoint):
    return stub_encoder(tiny_checkpoint.config)


def test_joint_and_probe_features_of_a_model(tiny_checkpoint):
    model = Model(onnx_encoder(tiny_checkpoint, threads=1))
    pictures = [encoded(1), array(2), encoded(3)]
    joint = extract(model, pictures)
    assert joint.vectors.shape == (3, 16)
    np.testing.assert_allclose(np.linalg.norm(joint.vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(joint.vectors, model.encode_images(pictures), atol=1e-6)
    probe = extract(model.encoder, pictures, kind="probe")
    assert probe.vectors.shape == (3, 32)
    projected = probe.vectors @ tiny_checkpoint.tensors.read_float32("visual.proj")
    projected /= np.linalg.norm(projected, axis=1, keepdims=True)
    np.testing.assert_allclose(projected, joint.vectors, atol=1e-5)
    again = extract(model, pictures, kind="probe")  # from the cache: of its own kind
    np.testing.assert_array_equal(again.vectors, probe.vectors)


def test_files_bytes_and_arrays_are_computed_once(encoder, tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(1))
    pictures = [
        tmp_path / "a.png",
        encoded(1),
        encoded(2),
        array(3),
        array(3)[:, :20],
        str(tmp_path / "a.png"),
    ]
    first = extract(encoder, pictures)
    computed = encoder.towers.pictures
    assert 4 <= computed <= 6  # the same content at once may be computed twice
    second = extract(encoder, pictures)
    assert encoder.towers.pictures == computed
    np.testing.assert_array_equal(first.vectors, second.vectors)
    np.testing.assert_array_equal(first.vectors[0], first.vectors[1])
    assert second.rows.tolist() == list(range(6))


def test_what_changes_a_vector_is_not_mixed_up(encoder):
    extract(encoder, [encoded(1)])
    encoder.decode = "reference"
    extract(encoder, [encoded(1)])
    encoder.mode = "int8"
    extract(encoder, [encoded(1)])
    assert encoder.towers.pictures == 3
    # an array of another shape or type with the same bytes is another picture
    flat = np.arange(24 * 24 * 3, dtype=np.uint8)
    found = extract(encoder, [flat.reshape(24, 24, 3), flat.reshape(12, 48, 3)])
    assert not np.array_equal(found.vectors[0], found.vectors[1])


def test_pillow_images_are_not_kept(encoder):
    image = Image.fromarray(array(1))
    for _ in range(2):
        extract(encoder, [image])
    assert encoder.towers.pictures == 2


def test_without_cache(encoder):
    seen = []
    for _ in range(2):
        extract(encoder, [encoded(1), b"none"], cache=False, progress=lambda c: seen.append(c.done))
    assert encoder.towers.pictures == 2
    assert seen == [1, 2, 1, 2]


def test_broken_pictures_are_listed_and_not_counted(encoder, tmp_path):
    data = Labelled(
        [encoded(1), b"no picture", tmp_path / "gone.png", array(2)], np.arange(4), tuple("abcd")
    )
    for cache in (True, False):
        found = extract(encoder, data, cache=cache)
        assert found.rows.tolist() == [0, 3]
        assert len(found) == 2
        assert [failure.index for failure in found.failures] == [1, 2]
        assert data.take(found.rows).targets.tolist() == [0, 3]
    with pytest.raises(DataError, match=r"None of the 2 pictures.*The first"):
        extract(encoder, [b"no", b"none"])
    with pytest.raises(DataError, match="There are none"):
        extract(encoder, [])


def test_order_holds_where_files_and_memory_mix(encoder, tmp_path):
    pictures = []
    for n in range(30):
        if n % 3:
            pictures.append(encoded(n))
        else:
            (tmp_path / f"{n}.png").write_bytes(encoded(n))
            pictures.append(str(tmp_path / f"{n}.png"))
    alone = np.concatenate([extract(encoder, [p], cache=False).vectors for p in pictures])
    for _ in range(2):
        np.testing.assert_allclose(extract(encoder, pictures).vectors, alone, atol=1e-6)


WORKER = """
import sys
sys.path[:0] = sys.argv[1:3]
import numpy as np
from keshin.core.checkpoint import load_checkpoint
from keshin.encode import embeddings
from keshin.evaluate.features import extract
from stub_towers import stub_encoder
embeddings.FLUSH_SECONDS = 0.05
encoder = stub_encoder(load_checkpoint(sys.argv[3]).config, delay=float(sys.argv[4]))
pictures = [np.random.default_rng(n).integers(0, 256, (20, 24, 3), np.uint8) for n in range(80)]
def progress(counts):
    print(counts.done, counts.cached, flush=True)
extract(encoder, pictures, progress=progress)
print("encoded", encoder.towers.pictures, flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
def test_kill_9_loses_next_to_nothing(tiny_folder, tmp_path):
    root, here = Path(keshin.__file__).parents[1], Path(__file__).parents[1]
    environment = {**os.environ, "KESHIN_CACHE": str(tmp_path / "cache")}

    def worker(delay):
        command = [sys.executable, "-c", WORKER, *map(str, (root, here, tiny_folder, delay))]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)

    first = worker(0.2)  # a batch of four each
    for line in first.stdout:
        if int(line.split()[0]) >= 40:
            first.kill()
            break
    first.stdout.close()
    assert first.wait(30) == -signal.SIGKILL
    second = worker(0)
    lines = second.communicate(timeout=60)[0].split("\n")
    new = int(lines[-2].split()[1])
    assert 80 - new >= 40 - 12  # what a flush every 0.05 s had not yet written
    assert second.returncode == 0
