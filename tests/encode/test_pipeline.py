"""Pictures are read beside the model: in order, in bounds, and whatever goes wrong."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import keshin
from keshin.core import pictures as core_pictures
from keshin.core.pictures import Limits, preprocess
from keshin.core.room import Room
from keshin.encode import pipeline
from keshin.encode.pipeline import Item, Pipeline
from keshin.errors import PictureError
from stub_towers import stub_encoder

SIZES = [(20, 30), (40, 16), (17, 17), (90, 31)]


@pytest.fixture(params=[1, 2, 5])
def encoder(tiny_checkpoint, request):
    return stub_encoder(tiny_checkpoint.config, threads=request.param)


def drawn(count, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (*SIZES[i % 4], 3), np.uint8) for i in range(count)]


def expected(encoder, picture):
    pixels = preprocess(picture, encoder.config.preprocess, mode=encoder.decode)
    features = encoder.towers.image_features(pixels[None])[0]
    return features / np.linalg.norm(features)


def names_of_threads():
    return [thread.name for thread in threading.enumerate() if "keshin" in thread.name]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    for _ in range(100):
        if not names_of_threads():
            break
        time.sleep(0.02)
    assert not names_of_threads()


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 23])
def test_all_come_in_order(encoder, count):
    given = drawn(count)
    vectors = encoder.encode_images(given)
    assert vectors.shape == (count, encoder.config.embed_dim)
    assert max(encoder.towers.batches, default=0) <= 4
    for vector, picture in zip(vectors, given, strict=True):
        np.testing.assert_allclose(vector, expected(encoder, picture), atol=1e-6)


def test_order_does_not_depend_on_who_is_ready_first(tiny_checkpoint, monkeypatch):
    encoder = stub_encoder(tiny_checkpoint.config, threads=4)
    rng = np.random.default_rng(1)
    real = pipeline.fitted

    def slow(*arguments, **options):
        time.sleep(float(rng.uniform(0, 0.01)))
        return real(*arguments, **options)

    monkeypatch.setattr(pipeline, "fitted", slow)
    given = drawn(30)
    places = [place for good, _, _ in encoder.try_images(given) for place in good]
    assert places == list(range(30))


def test_a_bad_picture_does_not_shift_the_others(encoder, tmp_path):
    given = drawn(11)
    bad = {0, 3, 4, 5, 6, 7, 10}
    mixed = [b"nonsense" if place in bad else picture for place, picture in enumerate(given)]
    seen = {}
    for good, vectors, failures in encoder.try_images(mixed):
        assert len(good) == len(vectors)
        assert len(good) + len(failures) <= encoder.batch_size
        seen.update(zip(good, vectors, strict=True))
        assert {failure.index for failure in failures} <= bad
    assert sorted(seen) == sorted(set(range(11)) - bad)
    for place, vector in seen.items():
        np.testing.assert_allclose(vector, expected(encoder, given[place]), atol=1e-6)
    with pytest.raises(PictureError):
        encoder.encode_images(mixed)


def test_only_bad_pictures(encoder):
    groups = list(encoder.try_images([b"nonsense"] * 9))
    assert sum(len(failures) for _, _, failures in groups) == 9
    assert all(vectors.shape == (0, 16) for _, vectors, _ in groups)
    assert encoder.towers.batches == []


def test_what_a_worker_raises_is_the_pictures_failure(encoder, monkeypatch):
    real = pipeline.fitted

    def broken(picture, *arguments, **options):
        if picture is given[2]:
            raise MemoryError("no more")
        return real(picture, *arguments, **options)

    given = drawn(6)
    monkeypatch.setattr(pipeline, "fitted", broken)
    failures = [f for _, _, failed in encoder.try_images(given) for f in failed]
    assert [f.index for f in failures] == [2]
    assert "MemoryError: no more" in failures[0].error


def test_an_item_that_ends_with_nothing_does_not_hang():
    class Lazy(Item):
        def read(self):
            return None

    done = list(Pipeline(lambda pixels: pixels, batch_size=2, threads=2).run([Lazy(0, "x")]))
    assert "without a result" in str(done[0].error)


def test_a_failing_model_or_source_is_raised(encoder):
    def source():
        yield from drawn(6)
        raise KeyError("source")

    with pytest.raises(KeyError):
        list(encoder.try_images(source()))

    def fails(pixels):
        raise RuntimeError("model")

    encoder.towers.image_features = fails
    with pytest.raises(RuntimeError, match="model"):
        list(encoder.try_images(drawn(6)))


def test_what_is_read_ahead_is_bounded(encoder):
    taken = 0

    def endless():
        nonlocal taken
        picture = drawn(1)[0]
        while True:
            taken += 1
            yield picture

    groups = encoder.try_images(endless())
    for number in range(1, 6):
        next(groups)
        assert taken <= encoder.batch_size * (number + 3)
    groups.close()


def test_pictures_are_read_while_the_model_runs(tiny_checkpoint):
    encoder = stub_encoder(tiny_checkpoint.config, delay=0.05)
    during = []
    real = encoder.towers.image_features

    def watch(pixels):
        before = len(read)
        result = real(pixels)
        during.append(len(read) - before)
        return result

    read = []

    def pictures():
        yield from drawn(40)

    original = pipeline.fitted
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "fitted", lambda *a, **k: (read.append(1), original(*a, **k))[1])
        encoder.towers.image_features = watch
        list(encoder.try_images(pictures()))
    assert sum(during) > 0
    assert len(encoder.towers.threads) == 1


def test_leaving_early_reads_no_more(tiny_checkpoint, monkeypatch):
    encoder = stub_encoder(tiny_checkpoint.config)
    read = []
    real = pipeline.fitted

    def counted(*arguments, **options):
        read.append(1)
        time.sleep(0.01)
        return real(*arguments, **options)

    monkeypatch.setattr(pipeline, "fitted", counted)
    groups = encoder.try_images(drawn(100))
    next(groups)
    groups.close()
    soon = len(read)
    time.sleep(0.2)
    assert len(read) <= soon + 2


def test_huge_pictures_wait_for_each_other():
    room, inside, most = Room(), [0], [0]
    lock = threading.Lock()

    def use(pixels):
        with room.share(100) as take:
            take(pixels)
            with lock:
                inside[0] += pixels
                most[0] = max(most[0], inside[0])
            time.sleep(0.01)
            with lock:
                inside[0] -= pixels

    sizes = [60, 60, 100, 40, 30, 300, 10, 90]
    threads = [threading.Thread(target=use, args=[size]) for size in sizes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert not any(thread.is_alive() for thread in threads)
    assert most[0] in range(90, 101) or most[0] == 300  # the one over the limit went alone
    assert inside[0] == 0


def test_room_is_given_back_after_a_failure(tmp_path, tiny_checkpoint):
    path = tmp_path / "half.png"
    Image.fromarray(drawn(1)[0]).resize((200, 200)).save(path)
    path.write_bytes(path.read_bytes()[:-300])
    facts = tiny_checkpoint.config.preprocess
    for _ in range(3):
        with pytest.raises(PictureError):
            preprocess(path, facts, limits=Limits(pixels=40_000))
    assert core_pictures._ROOM._used == 0


SLEEPER = """
import sys, time
sys.path[:0] = sys.argv[1:3]
import keshin.encode.pipeline as p
real = p.fitted
def slow(*a, **k):
    time.sleep(0.1)
    return real(*a, **k)
p.fitted = slow
import keshin, numpy as np
model = keshin.load(sys.argv[3], threads=2)
picture = np.zeros((20, 20, 3), np.uint8)
def endless():
    print("go", flush=True)
    while True:
        yield picture
for group in model.encoder.try_images(endless()):
    pass
"""


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT to a child")
def test_an_interrupt_ends_it_quickly(tiny_folder):
    root, here = str(Path(keshin.__file__).parents[1]), str(Path(__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, "-c", SLEEPER, root, here, str(tiny_folder)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    process.stdout.readline()
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, errors = process.communicate(timeout=60)
    assert b"KeyboardInterrupt" in errors
    # 64 pictures wait at 0.1 s each; under load a process may take a second to end
    assert time.monotonic() - began < 2.5
