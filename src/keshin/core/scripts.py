"""Which script a text is written in, as far as prompts need to know."""

from __future__ import annotations

import re

_KANA_OR_KANJI = re.compile(
    "[\u3005\u3041-\u309f\u30a1-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uff66-\uff9d]"
)
_HANGUL = re.compile("[\u1100-\u11ff\u3131-\u318e\uac00-\ud7a3]")


def in_japanese_script(text: str) -> bool:
    """Whether the text is written with kana or kanji, and not with Hangul."""
    return bool(_KANA_OR_KANJI.search(text)) and not _HANGUL.search(text)
