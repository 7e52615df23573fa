import hashlib

import numpy as np
import pytest
from PIL import Image

from keshin.core.content import content_of


def test_a_file_is_known_by_its_bytes_wherever_it_lies(tmp_path):
    data = b"any bytes at all"
    (tmp_path / "a.jpg").write_bytes(data)
    found = {content_of(each) for each in (data, memoryview(data), tmp_path / "a.jpg", str(tmp_path / "a.jpg"))}  # fmt: skip
    assert found == {hashlib.sha256(data).digest()}


def test_an_array_is_known_by_type_shape_and_values():
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    others = pixels.reshape(4, 2, 3), pixels.astype(np.float32), pixels[::-1]
    assert content_of(pixels) == content_of(pixels.copy(order="F"))
    assert content_of(pixels) == content_of(Image.fromarray(pixels))
    assert content_of(pixels) not in map(content_of, others)
    # what stores of vectors have been keyed by
    assert content_of(pixels) == hashlib.sha256(b"|u1 (2, 4, 3) " + pixels.tobytes()).digest()


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        content_of(tmp_path / "x.png")
