"""Facts that weights do not hold, from a layout's files and from the caller, never guessed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

import msgspec

from keshin.core.cleaning import CleaningName
from keshin.core.config import Activation
from keshin.errors import CheckpointError
from keshin.facts import releases

STATEMENTS: Mapping[str, str] = MappingProxyType(
    {
        "activation": "'quick_gelu', 'gelu' or 'gelu_tanh'",
        "head_width": "channels of one attention head, for example 64",
        "layer_norm_eps": "the epsilon of LayerNorm, for example 1e-05",
        "causal": "True if a token of a text sees only those before it",
        "pool": "'end-of-text', 'last' or 'first': the token that stands for a text",
        "tokenizer": "'clip': OpenAI's vocabulary of 49,408 tokens",
        "mean": "what is subtracted from red, green and blue in 0..1",
        "std": "what they are divided by then",
        "resize": "'shorter-side' (then the centre is cut out) or 'squash'",
        "interpolation": "'bicubic', 'bilinear', 'nearest' or 'lanczos'",
    }
)
"""What a caller can state about the model, and how."""

Colours = tuple[float, float, float]
Width = Annotated[int, msgspec.Meta(gt=0)]
Epsilon = Annotated[float, msgspec.Meta(gt=0)]
TYPES: Mapping[str, Any] = MappingProxyType(
    {
        "activation": Activation,
        "head_width": Width,
        "layer_norm_eps": Epsilon,
        "causal": bool,
        "pool": Literal["end-of-text", "last", "first"],
        "tokenizer": Literal["clip"],
        "mean": Colours,
        "std": Colours,
        "resize": Literal["shorter-side", "squash"],
        "interpolation": Literal["bicubic", "bilinear", "nearest", "lanczos"],
        "text_head_width": Width,  # these may be stated too, and need not be
        "cleaning": CleaningName,
        "name": str,
        "licence": str,
        "source": str,
    }
)

OPENAI_FACTS: Mapping[str, Any] = MappingProxyType(releases.get("openai/ViT-B-32").statements())
"""The facts of the nine models that OpenAI released (``facts/releases.toml``)."""

PICTURE = ("mean", "std", "resize", "interpolation")  # what every model must say of its pictures


class MissingFacts(CheckpointError):
    """Facts that neither the files nor the caller state; ``names`` are all that are missing."""

    def __init__(self, path: Path, names: Iterable[str]) -> None:
        self.names = tuple(names)
        lines = "".join(f"\n  {name}: {STATEMENTS[name]}" for name in self.names)
        beside = f"{path.stem}.facts.json" if path.is_file() else f"{path.name}/facts.json"
        super().__init__(
            f"{path} does not say how the model was made, and a wrong guess gives wrong answers "
            f"that look right. What is missing:{lines}\n"
            f'State it in {beside}, as {{"{self.names[0]}": ...}}, or in Python as facts={{...}}. '
            "If the model is a known release, or was trained on from one, "
            '{"like": "openai/ViT-B-32"} states all of it (`keshin models` lists the names). A '
            "whole fact sheet, keshin.json beside a file of weights, serves too."
        )


class Known:
    """The facts of one model as they become known; what files and caller say must agree."""

    def __init__(self, path: Path, facts: Mapping[str, Any] | None) -> None:
        self.path = path
        self._stated = {name: _checked(name, value) for name, value in (facts or {}).items()}
        self._known = dict(self._stated)

    def say(self, name: str, value: Any, source: str) -> Any:
        """Record what ``source`` says, and return it; refuse if the caller said otherwise."""
        value = _checked(name, value, source)
        stated = self._stated.get(name, value)
        if stated != value:
            raise CheckpointError(
                f"facts= says that {name} is {stated!r}, but {source} says {value!r}. Leave the "
                "fact out, or correct the file if it is wrong."
            )
        self._known[name] = value
        return value

    def require(self, names: Iterable[str]) -> dict[str, Any]:
        """The values of some facts. Raises ``MissingFacts`` that names all that are missing."""
        names = tuple(names)
        if any(name not in self._known for name in names):
            every = dict.fromkeys((*names, *PICTURE))  # to be asked for once, not one by one
            raise MissingFacts(self.path, [name for name in every if name not in self._known])
        return {name: self._known[name] for name in names}

    def optional(self, name: str, default: Any) -> Any:
        """What is known, else ``default``: a habit of the layout that no file states."""
        return self._known.get(name, default)

    def label(self, name: str, default: str) -> str:
        """A name, licence or source."""
        return str(self._known.get(name, default))


def _checked(name: str, value: Any, source: str = "facts=") -> Any:
    if name not in TYPES:
        raise CheckpointError(
            f"facts= names {name!r}, which keshin does not know. It knows {', '.join(TYPES)}."
        )
    try:
        return msgspec.convert(value, TYPES[name])
    except msgspec.ValidationError as error:
        choices = f" keshin knows {STATEMENTS[name]}." if name in STATEMENTS else ""
        raise CheckpointError(
            f"{source} gives {name} the value {value!r}, which is not possible ({error}).{choices}"
        ) from error
