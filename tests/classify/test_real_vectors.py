"""Real vectors of OpenAI's ViT-B/32 through the classifier's code, against plain NumPy.

The vectors are not part of the project; they are looked for beside the checkout:
``clip_vitb32_reference.npz`` (embeddings of seven pictures) and ``clip_vitb32_text_vocab.npz``
(embeddings of "a " + name for the 1,203 names of LVIS). Without it these tests are skipped.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from keshin.classify import Classifier, Rejection
from keshin.classify.weights import class_weights
from keshin.encode.encoder import Encoder
from stub_towers import StubTowers

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "reference"
PICTURES, VOCABULARY = FOLDER / "clip_vitb32_reference.npz", FOLDER / "clip_vitb32_text_vocab.npz"
pytestmark = pytest.mark.skipif(
    not VOCABULARY.is_file(), reason="../shared/data/reference is not here"
)
SCALE = 100.0


@dataclass
class Known(Encoder):
    """An encoder whose texts are looked up."""

    table: dict = field(default_factory=dict)

    def encode_texts(self, texts):
        return np.stack([self.table[text] for text in texts])


@pytest.fixture(scope="module")
def real(tiny_checkpoint):
    vocabulary, pictures = np.load(VOCABULARY), np.load(PICTURES)
    raw = vocabulary["lvis/embeddings"].astype(np.float32)
    unit = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    table = dict(zip(map(str, vocabulary["lvis/texts"]), unit, strict=True))
    config = tiny_checkpoint.config
    encoder = Known(config, None, StubTowers(512), SCALE, table=table)
    names = {str(name): (str(name),) for name in vocabulary["lvis/names"]}
    weights = class_weights(encoder, names, ("a {}",))
    classifier = Classifier(
        encoder, names, ("a {}",), weights, np.zeros((0, 512), np.float32), Rejection()
    )
    vectors = pictures["clip_retrieval/image_embeddings"].astype(np.float32)
    return classifier, vectors, unit


def answers(classifier, vectors, top=5):
    return list(classifier.results_of([(list(range(len(vectors))), vectors, [])], top=top))


def test_cosines_are_those_of_plain_numpy(real):
    classifier, vectors, unit = real
    plain = vectors @ unit.T
    for row, result in enumerate(answers(classifier, vectors, top=None)):
        said = {answer.label: answer.cosine for answer in result.answers}
        np.testing.assert_allclose([said[name] for name in classifier.names], plain[row], atol=1e-3)
    np.testing.assert_allclose(vectors @ classifier.weights_.T, plain, atol=1e-3)


def test_scores_are_the_softmax_of_openai(real):
    classifier, vectors, unit = real
    logits = SCALE * (vectors @ unit.T).astype(np.float64)
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(classifier.scores(vectors), shares, atol=1e-3)


def test_answers_make_sense(real):
    classifier, vectors, _ = real
    found = answers(classifier, vectors)
    assert len(found) == 7
    for result in found:
        assert 0.2 < result.answers[0].cosine < 0.4  # as usual for ViT-B/32
        cosines = [answer.cosine for answer in result.answers]
        assert cosines == sorted(cosines, reverse=True)
    names = list(map(str, np.load(PICTURES)["clip_retrieval/names"]))
    labels = dict(zip(names, ([a.label for a in r.answers] for r in found), strict=True))
    assert labels["456_123"][0] == "kitten"  # the face of a kitten
    assert "cat" in labels["123_456"]  # half of the same
    assert labels["389_535"][0] == "street_sign"  # the sign of a motel
    assert "coconut" in labels["321_421"]  # palms
