"""Text to token ids: CLIP's byte-level BPE exactly, and any other ``tokenizer.json``.

A tokenizer is a ``tokenizer.json``, which the ``tokenizers`` library runs, and the facts beside it
that the file cannot state: how text is cleaned first, and which ids begin, end and pad a row.

The cleaning named ``"clip"`` stands for all of OpenAI's rules. With it only vocabulary and merges
come from the file; what comes before the merges is done here, since the files' own normalisers
differ from OpenAI's (full-width forms, control characters, special tokens within a text).

Characters that Unicode added after version 16 are no letters here, but are to a newer ``regex``.
"""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Iterable, Sequence
from importlib import resources
from itertools import chain, islice
from pathlib import Path

import numpy as np
import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, processors, trainers

from keshin.core.cleaning import CLEANING, CleaningName
from keshin.core.config import TokenizerFacts
from keshin.core.tokens import Ids, Tokens, Truncation
from keshin.core.writing import whole
from keshin.errors import TokenizerError

__all__ = ["CLEANING", "END", "START", "CleaningName", "Ids", "Tokenizer", "Tokens", "Truncation"]

START, END = "<|startoftext|>", "<|endoftext|>"
SUFFIX = "</w>"  # marks the last piece of a word
MERGES = "bpe_simple_vocab_16e6.txt.gz"  # OpenAI's list; CLIP uses the first 48,894 of its merges
CLIP_MERGES = 49152 - 256 - 2
WORDS_KEPT, LONGEST_KEPT = 32768, 64  # words whose ids are remembered, and their signs
SURROGATE = re.compile("[\ud800-\udfff]")
# A byte that is a visible sign in Latin-1 stands for itself, the others for chr(256), chr(257)...
VISIBLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
ALPHABET = [chr(b) for b in VISIBLE] + [chr(256 + i) for i in range(256 - len(VISIBLE))]
BYTE_PIECES = ALPHABET + [letter + SUFFIX for letter in ALPHABET]
# OpenAI's pattern as `regex` runs it, ignoring case: the long s (U+017F) counts as an s, and a lone
# iota subscript (U+0345) is dropped, a mark that has a letter as its capital. Oniguruma's own (?i)
# over all of it would keep the iota and take the ligature U+FB05 for the "st" of startoftext.
WORDS = (
    "<\\|[s\u017f]tartoftext\\|>|<\\|endoftext\\|>|(?i:'s|'t|'re|'ve|'m|'ll|'d)"
    r"|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}\x{345}]+"
)
# The nearest that `tokenizers` has to OpenAI's cleaning, for other programs that read our file.
NEAREST_TO_CLIP = {
    "type": "Sequence",
    "normalizers": [
        {"type": "NFC"},
        {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
        {"type": "Lowercase"},
    ],
}


class Tokenizer:
    """Texts to ids and back.

    ``backend`` is taken over: with the cleaning ``"clip"``, what it does before the merges is
    replaced by OpenAI's rules.
    """

    def __init__(
        self, backend: tokenizers.Tokenizer, facts: TokenizerFacts, context_length: int
    ) -> None:
        size = backend.get_vocab_size()
        _check_facts(facts, size, context_length)
        backend.no_padding()  # files of other projects ask for both, and rows are made here
        backend.no_truncation()
        self.backend = backend
        self.facts = facts
        self.context_length = context_length
        self.vocab_size = size
        self._words: dict[str, list[int]] = {}
        self._special: dict[str, int] = {}  # recognised within a text by OpenAI's scan
        if facts.cleaning == "clip":
            backend.normalizer = None
            backend.pre_tokenizer = _openai_words()
            known = ((token, backend.token_to_id(token)) for token in (START, END))
            self._special = {token: i for token, i in known if i is not None}

    @classmethod
    def clip(cls, context_length: int = 77) -> Tokenizer:
        """OpenAI's tokenizer: 49,408 tokens, from the packaged merges."""
        path = resources.files("keshin") / "facts" / MERGES
        with path.open("rb") as raw, gzip.open(raw, "rt", encoding="utf-8") as lines:
            merges = [_pair(line) for line in islice(lines, 1, 1 + CLIP_MERGES)]
        return cls._from_merges(merges, context_length, "clip")

    @classmethod
    def load(cls, path: str | Path, facts: TokenizerFacts, context_length: int) -> Tokenizer:
        """Read a ``tokenizer.json``; ``facts`` say what it does not."""
        return cls(read_backend(path), facts, context_length)

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        vocab_size: int,
        context_length: int,
        cleaning: CleaningName = "clip",
    ) -> Tokenizer:
        """Learn a vocabulary of CLIP's kind: 512 byte pieces, merges, start and end.

        The same texts give the same vocabulary, whatever their order.
        """
        _check_cleaning(cleaning)
        if vocab_size < len(BYTE_PIECES) + 2:
            raise TokenizerError(
                f"A vocabulary of {vocab_size} is too small: the bytes, alone and at the end of a "
                "word, with start and end need 514. Ask for at least 514."
            )
        scratch = tokenizers.Tokenizer(models.BPE(end_of_word_suffix=SUFFIX))
        scratch.pre_tokenizer = _openai_words()
        pieces = [AddedToken(p, normalized=False) for p in BYTE_PIECES]
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size - 2,
            special_tokens=pieces,  # in a fixed order, or ties would be broken by chance
            end_of_word_suffix=SUFFIX,
            min_frequency=2,
            show_progress=False,
        )
        scratch.train_from_iterator((_cleaned(text, cleaning) for text in texts), trainer)
        merges = [(a, b) for a, b in json.loads(scratch.to_str())["model"]["merges"]]
        trained = cls._from_merges(merges, context_length, cleaning)
        if trained.vocab_size != vocab_size:
            raise TokenizerError(
                f"These texts give a vocabulary of {trained.vocab_size}, not of {vocab_size}: no "
                f"other pieces occur twice. Ask for {trained.vocab_size}, or give more texts."
            )
        return trained

    @classmethod
    def _from_merges(
        cls, merges: list[tuple[str, str]], context_length: int, cleaning: CleaningName
    ) -> Tokenizer:
        names = dict.fromkeys([*BYTE_PIECES, *(a + b for a, b in merges), START, END])
        vocab = {name: i for i, name in enumerate(names)}
        backend = tokenizers.Tokenizer(
            models.BPE(vocab=vocab, merges=merges, end_of_word_suffix=SUFFIX)
        )
        backend.add_special_tokens([AddedToken(t, normalized=False) for t in (START, END)])
        backend.pre_tokenizer = _openai_words()
        backend.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Replace(SUFFIX, " ")])
        backend.post_processor = processors.TemplateProcessing(
            single=f"{START} $A {END}",
            special_tokens=[(START, vocab[START]), (END, vocab[END])],
        )
        facts = TokenizerFacts(cleaning=cleaning, start=vocab[START], end=vocab[END], pad=0)
        return cls(backend, facts, context_length)

    def save(self, path: str | Path) -> None:
        """Write ``tokenizer.json``, whole or not at all.

        A ``"clip"`` tokenizer's file names a normaliser for other programs; it is not used here.
        """
        text = self.backend.to_str(pretty=False)
        if self.facts.cleaning == "clip":
            content = json.loads(text)
            content["normalizer"] = NEAREST_TO_CLIP
            text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        with whole(Path(path)) as scratch, scratch.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())

    @property
    def unknown(self) -> int | None:
        """The id of what the vocabulary cannot say, where it has one; CLIP's can say all."""
        found: int | None = self.backend.token_to_id("<unk>")
        return found

    def encode(self, text: str) -> list[int]:
        """The ids of one text, without start and end, of any length."""
        clean = _cleaned(text, self.facts.cleaning)
        if self.facts.cleaning != "clip":  # other files' rules may look across white space
            return self.backend.encode(clean, add_special_tokens=False).ids
        # OpenAI's pattern matches no white space and looks at nothing around a match, so the ids of
        # a text are those of its words one after another: "photo" is cut up once for all prompts.
        ids: list[int] = []
        for word in clean.split():
            known = self._words.get(word)
            ids += self._encode_word(word) if known is None else known
        return ids

    def _encode_word(self, word: str) -> list[int]:
        """The ids of what stands between white space, kept for the next time."""
        if any(token in word for token in self._special):
            return self._scan(word)
        ids: list[int] = self.backend.encode(word, add_special_tokens=False).ids
        if len(word) <= LONGEST_KEPT:
            if len(self._words) >= WORDS_KEPT:
                self._words.clear()
            self._words[word] = ids
        return ids

    def _scan(self, clean: str) -> list[int]:
        # OpenAI's scan sees a special token where a word may begin, not within punctuation.
        ids: list[int] = []
        for word, _ in _openai_words().pre_tokenize_str(clean):
            if word in self._special:
                ids.append(self._special[word])
            else:
                ids += [piece.id for piece in self.backend.model.tokenize(word)]
        return ids

    def __call__(self, texts: Sequence[str]) -> Tokens:
        """Start, text, end for each text; what is longer than the context is cut and reported."""
        if isinstance(texts, str):
            raise TokenizerError(f"Expected a list of texts, got one: {texts!r}. Pass [text].")
        start = [] if self.facts.start is None else [self.facts.start]
        room = self.context_length - len(start) - 1
        rows, truncated = [], []
        for index, text in enumerate(texts):
            ids = self.encode(text)
            if len(ids) > room:
                counts = len(start) + len(ids) + 1, self.context_length
                truncated.append(Truncation(index, text, *counts))
            rows.append([*start, *ids[:room], self.facts.end])
        lengths = np.array([len(row) for row in rows], np.int64)
        ids_of_all = np.full((len(rows), lengths.max(initial=0)), self.facts.pad, np.int64)
        filled = np.arange(ids_of_all.shape[1]) < lengths[:, None]
        ids_of_all[filled] = np.fromiter(chain.from_iterable(rows), np.int64, lengths.sum())
        ends = np.array([row.index(self.facts.end) for row in rows], np.int64)
        return Tokens(ids_of_all, lengths, ends, tuple(truncated), self.facts.pad)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of some ids up to the end token, words apart: "a cat ." for "A cat."."""
        kept: list[int] = []
        for i in map(int, ids):
            if not 0 <= i < self.vocab_size:
                raise TokenizerError(
                    f"{i} is no token of this vocabulary, whose ids are 0 to {self.vocab_size - 1}."
                )
            if i == self.facts.end:
                break
            if i != self.facts.start:
                kept.append(i)
        return self.backend.decode(kept, skip_special_tokens=False).strip()


def read_backend(path: str | Path) -> tokenizers.Tokenizer:
    """A ``tokenizer.json`` as the library reads it. Raises ``TokenizerError``."""
    try:
        return tokenizers.Tokenizer.from_str(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise TokenizerError(f"Cannot read the tokenizer {path}: {error.strerror}.") from error
    except Exception as error:  # the library raises bare Exception
        raise TokenizerError(
            f"{path} is not a tokenizer.json that 'tokenizers' {tokenizers.__version__} can "
            f"read ({error}). Fetch or write the file again."
        ) from error


def _pair(line: str) -> tuple[str, str]:
    first, second = line.split()
    return first, second


def _openai_words() -> pre_tokenizers.PreTokenizer:
    """Words, single digits and runs of signs, each as its bytes; white space is dropped."""
    split = pre_tokenizers.Split(Regex(WORDS), behavior="removed", invert=True)
    as_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([split, as_bytes])


def _cleaned(text: object, cleaning: CleaningName) -> str:
    if not isinstance(text, str):
        raise TokenizerError(f"Expected a text, got {text!r} ({type(text).__name__}).")
    clean = CLEANING[cleaning](text)
    if not clean.isascii() and SURROGATE.search(clean):
        raise TokenizerError(
            f"{text!r} holds half of a surrogate pair, which is no character. Decode its bytes "
            "with errors='replace', or use the cleaning 'clip', which does the same."
        )
    return clean


def _check_cleaning(name: str) -> None:
    if name not in CLEANING:
        raise TokenizerError(f"There is no cleaning {name!r}. Use one of: {', '.join(CLEANING)}.")


def _check_facts(facts: TokenizerFacts, size: int, context_length: int) -> None:
    _check_cleaning(facts.cleaning)
    for name in ("start", "end", "pad"):
        value = getattr(facts, name)
        if value is not None and not 0 <= value < size:
            raise TokenizerError(
                f"The {name} token {value} lies outside the vocabulary of {size} tokens. The facts "
                "and the tokenizer.json do not belong together: correct one of them."
            )
    if context_length < 2 + (facts.start is not None):
        raise TokenizerError(
            f"A context length of {context_length} leaves no room for a text. Use a larger one."
        )
