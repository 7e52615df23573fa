"""CLIP's tokenizer once more, slow and plain, to compare the real one with.

Written from the published description alone: clean the text, cut it into words with one regular
expression, spell each word in a byte alphabet, join the pair of neighbours that stands highest in
the list of merges until none is left. It shares no code with keshin.
"""

import gzip
import html
from itertools import pairwise
from pathlib import Path

import ftfy
import regex

SPECIAL = ("<|startoftext|>", "<|endoftext|>")
WORD = regex.compile(
    r"""<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+""",
    regex.IGNORECASE,
)
N_MERGES = 48_894
VISIBLE = {*range(33, 127), *range(161, 256)} - {173}


def byte_letters() -> dict[int, str]:
    """Each of the 256 bytes as a character that can be seen."""
    letters = {b: chr(b) for b in range(256) if b in VISIBLE}
    hidden = (b for b in range(256) if b not in letters)
    return letters | {b: chr(256 + i) for i, b in enumerate(hidden)}


def clean(text: str) -> str:
    text = ftfy.fix_text(text)
    text = html.unescape(html.unescape(text))
    text = regex.sub(r"\s+", " ", text.strip())
    return text.strip().lower()


class ReferenceTokenizer:
    def __init__(self, merges_file: Path) -> None:
        lines = gzip.decompress(merges_file.read_bytes()).decode().split("\n")
        merges = [tuple(line.split()) for line in lines[1 : N_MERGES + 1]]
        self.rank = {pair: i for i, pair in enumerate(merges)}
        self.letters = byte_letters()
        # the bytes count in the order of their letters' code points
        alphabet = sorted(self.letters.values())
        tokens = [*alphabet, *(a + "</w>" for a in alphabet), *map("".join, merges), *SPECIAL]
        self.id = {token: i for i, token in enumerate(tokens)}
        assert len(self.id) == len(tokens) == 49_408
        self.known: dict[str, list[int]] = {}

    def encode(self, text: str) -> list[int]:
        ids = []
        for word in WORD.findall(clean(text)):
            if word not in self.known:
                self.known[word] = self._word(word)
            ids += self.known[word]
        return ids

    def _word(self, word: str) -> list[int]:
        if word in SPECIAL:
            return [self.id[word]]
        parts = [self.letters[b] for b in word.encode("utf-8")]
        parts[-1] += "</w>"
        while len(parts) > 1:
            best = min(pairwise(parts), key=lambda pair: self.rank.get(pair, N_MERGES))
            if best not in self.rank:
                break
            parts = self._join(parts, best)
        return [self.id[part] for part in parts]

    @staticmethod
    def _join(parts: list[str], pair: tuple[str, str]) -> list[str]:
        """All occurrences of the pair at once, from the left."""
        joined, i = [], 0
        while i < len(parts):
            if tuple(parts[i : i + 2]) == pair:
                joined.append(parts[i] + parts[i + 1])
                i += 2
            else:
                joined.append(parts[i])
                i += 1
        return joined
