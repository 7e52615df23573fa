"""Words whose ids are remembered give the ids of the whole text."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keshin.core.late_tokenizer import LateTokenizer
from keshin.core.tokenizer import Tokenizer
from keshin.core.tokenizer import _cleaned as cleaned
from keshin.facts import prompts

CLIP = Tokenizer.clip()


def whole(text):
    """The ids of a text that the library cuts in one go, as before words were remembered."""
    return CLIP.backend.encode(cleaned(text, "clip"), add_special_tokens=False).ids


AWKWARD = "ab'stmre 1９．。、\u3000\u00a0\u0085\x1c\u2028\u200b\u0345ſ猫の写真éİß🐈\u0301\ufb05-_&;"
names = st.one_of(st.text(AWKWARD, max_size=20), st.text(max_size=20))
templates = st.sampled_from(
    [t for name in prompts.template_sets() for t in prompts.templates(name)]
)


@settings(deadline=None, max_examples=600)
@given(templates, names)
def test_a_prompt_is_its_words(template, name):
    text = template.replace("{}", name)
    if "<|" not in text:
        assert CLIP.encode(text) == whole(text)
        assert CLIP.encode(text) == whole(text)  # from memory


def test_every_template_with_labels_of_many_kinds():
    labels = [
        "tench",
        "Lord's prayer",
        "X-ray",
        "3-D",
        "猫",
        "a\u3000b",
        "  spaced  ",
        "!?",
        "AT&T",
    ]
    for name in prompts.template_sets():
        for template in prompts.templates(name):
            for label in labels:
                text = template.replace("{}", label)
                assert CLIP.encode(text) == whole(text), text


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr("keshin.core.tokenizer.WORDS_KEPT", 10)
    small = Tokenizer.train(["some words"] * 2, 520, 16)
    for number in range(50):
        small.encode(f"word{number} {'long' * 100}")
        assert len(small._words) <= 10
    assert "long" * 100 not in small._words


def test_a_late_tokenizer_is_read_once_and_is_the_same():
    read = []

    def load():
        read.append(1)
        return CLIP

    late = LateTokenizer(load)
    assert isinstance(late, Tokenizer)
    assert not read
    assert late.encode("a photo") == CLIP.encode("a photo")
    assert late(["a photo"]).ids.tolist() == CLIP(["a photo"]).ids.tolist()
    assert late.context_length == 77
    assert read == [1]
    with pytest.raises(AttributeError, match="no_such_thing"):
        late.no_such_thing  # noqa: B018
