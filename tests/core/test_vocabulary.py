"""Tokenizers of other models: cleaning rules, special tokens, padding, SentencePiece files."""

import json
import struct

import numpy as np
import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import models, normalizers, pre_tokenizers, processors

from keshin.core.cleaning import CLEANING
from keshin.core.foreign.vocabulary import read_vocabulary
from keshin.errors import CheckpointError

PIECES = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁a", -1.0), ("▁cat", -2.0), ("▁", -3.0)]
PIECES += [(letter, -5.0 - i / 10) for i, letter in enumerate("abcdefghijklmnopqrstuvwxyz.!")]


@pytest.mark.parametrize(
    ("rule", "text", "clean"),
    [
        ("mend", "  A  Cat &amp; a <b>dog</b>!\n", "A Cat & a <b>dog</b>!"),
        ("mend", "caf\u00c3\u00a9", "café"),
        ("canonical", "A photo_of a Cat, &quot;red&quot;!", "a photo of a cat red"),
        ("canonical", "「化身」の写真。", "「化身」の写真。"),  # ASCII punctuation only
        ("canonical", " ... ", ""),
        ("lower", "A  Photo_of É!", "a  photo_of é!"),
    ],
)
def test_cleaning(rule, text, clean):
    assert CLEANING[rule](text) == clean


def backend(template="$A </s>", **padding):
    made = Backend(models.Unigram(PIECES, 2, False))
    made.normalizer = normalizers.NFKC()
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    ids = [(name, i) for i, (name, _) in enumerate(PIECES[:3])]
    made.post_processor = processors.TemplateProcessing(single=template, special_tokens=ids)
    if padding:
        made.enable_padding(**padding)
    return made


def write(folder, made, **settings):
    made.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def test_surroundings_and_padding_are_read(tmp_path):
    write(tmp_path, backend(), pad_token="</s>")
    tokenizer = read_vocabulary(tmp_path, "canonical", 8)
    assert (tokenizer.facts.start, tokenizer.facts.end, tokenizer.facts.pad) == (None, 1, 1)
    np.testing.assert_array_equal(tokenizer(["A cat!"]).pad_to(8), [[3, 4, 1, 1, 1, 1, 1, 1]])
    cut = tokenizer(["a cat " * 9])
    assert cut.ids[0, -1] == 1, "the end stays where a text is cut"
    assert [t.tokens for t in cut.truncated] == [19]


def test_padding_and_cutting_of_the_file_are_left_to_keshin(tmp_path):
    made = backend("<pad> $A </s>", pad_id=2, pad_token="<unk>", length=16)
    made.enable_truncation(4)
    write(tmp_path, made)
    tokenizer = read_vocabulary(tmp_path, "none", 12)
    assert (tokenizer.facts.start, tokenizer.facts.end, tokenizer.facts.pad) == (0, 1, 2)
    assert tokenizer(["a cat a cat a cat"]).ids.tolist() == [[0, 3, 4, 3, 4, 3, 4, 1]]


@pytest.mark.parametrize("token", ["<pad>", {"content": "<pad>", "lstrip": False}])
def test_the_padding_may_stand_in_the_map_of_special_tokens(tmp_path, token):
    write(tmp_path, backend())
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"pad_token": token}))
    assert read_vocabulary(tmp_path, "lower", 8).facts.pad == 0


def test_what_the_files_leave_open_is_said(tmp_path):
    with pytest.raises(CheckpointError, match=r"has no tokenizer\.json"):
        read_vocabulary(tmp_path, "lower", 8)
    write(tmp_path, backend())
    with pytest.raises(CheckpointError, match="does not say which token fills a row"):
        read_vocabulary(tmp_path, "lower", 8)
    write(tmp_path, backend(), pad_token="<pad>", padding_side="left")
    with pytest.raises(CheckpointError, match="'padding_side' to 'left'"):
        read_vocabulary(tmp_path, "lower", 8)
    write(tmp_path, backend("$A"), pad_token="<pad>")
    with pytest.raises(CheckpointError, match="needs one token at the end"):
        read_vocabulary(tmp_path, "lower", 8)


# --- SentencePiece -------------------------------------------------------------------------------


def varint(value):
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def number(field, value):
    return varint(field << 3) + varint(value)


def message(field, data):
    return varint(field << 3 | 2) + varint(len(data)) + data


def sentencepiece(kind=1, **settings):
    """A model file as SentencePiece writes it, byte by byte."""
    data = b""
    for index, (text, score) in enumerate(PIECES):
        piece = message(1, text.encode()) + varint(2 << 3 | 5) + struct.pack("<f", score)
        data += message(1, piece + number(3, {0: 3, 1: 3, 2: 2}.get(index, 1)))
    trainer = number(3, kind) + number(40, 2) + number(42, 1)
    return (
        data + message(2, trainer) + message(3, message(1, b"nmt_nfkc") + settings.get("more", b""))
    )


def test_a_sentencepiece_model_is_converted(tmp_path):
    (tmp_path / "spiece.model").write_bytes(sentencepiece())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"pad_token": "</s>"}))
    tokenizer = read_vocabulary(tmp_path, "canonical", 8)
    expected = backend()
    for text in ("a cat", "abba", "the cat is a zebra", "", "猫 cat"):
        assert tokenizer.encode(text) == expected.encode(text, add_special_tokens=False).ids
    assert tokenizer(["A cat!"]).ids.tolist() == [[3, 4, 1]]
    assert tokenizer.decode([3, 4, 1]) == "a cat"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (sentencepiece(kind=2), "of a kind that keshin cannot convert exactly"),
        (sentencepiece(more=number(3, 0)), "of a kind that keshin cannot convert exactly"),
        (b"", "of a kind that keshin cannot convert exactly"),
        (sentencepiece()[:-3], "damaged"),
        (b"\xff" * 40, "damaged"),
        (message(1, number(1, 5)), "damaged"),
        (message(1, b""), "damaged"),
        (sentencepiece(more=message(2, b"no map")), "cannot use"),
    ],
    ids=["bpe", "no prefix", "empty", "cut", "noise", "number for text", "no text", "no map"],
)
def test_other_sentencepiece_files_are_refused(tmp_path, data, said):
    (tmp_path / "spiece.model").write_bytes(data)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"pad_token": "</s>"}))
    with pytest.raises(CheckpointError, match=said):
        read_vocabulary(tmp_path, "canonical", 8)
