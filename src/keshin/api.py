"""What ``import keshin`` offers: load a model, and ask it."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from keshin import __version__
from keshin.classify import (
    Classifier,
    Labels,
    Rejection,
    Templates,
    build_classifier,
    read_classifier,
)
from keshin.classify.rejection import NONE_OF_THESE
from keshin.core.cache import cache_folder
from keshin.core.checkpoint import FACTS, Checkpoint, load_checkpoint
from keshin.core.config import Config
from keshin.core.pictures import Picture
from keshin.core.tokenizer import Truncation
from keshin.encode.encoder import Encoder, FloatArray
from keshin.errors import CheckpointError

DEFAULT_MODEL = "mini"
EMBEDDED = Path(__file__).parent / "models"


class Model:
    """A model ready for use; ``keshin.load`` makes one. n counts pictures or texts, d is the width
    of the joint embedding.
    """

    def __init__(self, encoder: Encoder, *, origin: str = "") -> None:
        self.encoder = encoder
        self.origin = origin or encoder.config.name

    def __repr__(self) -> str:
        return f"<keshin.Model '{self.name}' from '{self.origin}', d = {self.config.embed_dim}>"

    @property
    def name(self) -> str:
        """The name that the checkpoint gives itself."""
        return self.encoder.config.name

    @property
    def config(self) -> Config:
        """The fact sheet."""
        return self.encoder.config

    def encode_images(self, pictures: Sequence[Picture]) -> FloatArray:
        """(n, d) float32 vectors of unit length.

        A picture is a path, the bytes of a file, a Pillow image or a uint8 array (h, w, 3). Raises
        ``PictureError`` for the first that cannot be read.
        """
        return self.encoder.encode_images(pictures)

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        """(n, d) float32 vectors of unit length. A text that is too long is cut, with a warning."""
        return self.encoder.encode_texts(texts)

    def preprocess(self, pictures: Sequence[Picture]) -> FloatArray:
        """(n, 3, h, w) float32: what the image tower sees. Raises ``PictureError``."""
        return self.encoder.preprocess(pictures)

    def classifier(
        self,
        labels: Labels | Iterable[str] | Mapping[str, Sequence[str]],
        *,
        templates: Templates = None,
        aliases: Mapping[str, Sequence[str]] | None = None,
        reject: Rejection | float | str | None = None,
        reject_label: str = NONE_OF_THESE,
        cache: bool = True,
    ) -> Classifier:
        """A zero-shot classifier for these labels.

        Arguments:
            labels: texts, or a mapping of labels to aliases.
            templates: a template with ``{}`` for the label, the name of a published set
                (``imagenet``, ``cifar10``, ``ja``, ...) or several of both. Default: "a photo of
                a {}.", and "{}の写真" for labels in Japanese script.
            aliases: more names for some labels; a label's names are averaged.
            reject: when to answer ``reject_label``: a least score, ``"background"`` (prompts that
                name no kind of thing are nearer), or a ``Rejection``.
            cache: whether class weights are kept in the cache folder (``KESHIN_CACHE``) and taken
                from there when the same model is given the same labels again.

        Raises ``LabelError``. What to know about the labels is in ``Classifier.warnings``.
        """
        return build_classifier(
            self.encoder,
            labels,
            templates=templates,
            aliases=aliases,
            reject=reject,
            reject_label=reject_label,
            origin=self.origin,
            cache=cache,
        )


def load(
    name_or_path: str | os.PathLike[str] = DEFAULT_MODEL,
    *,
    threads: int | None = None,
    providers: Sequence[str] | None = None,
) -> Model:
    """A model from the name of an embedded one, or from a folder.

    Arguments:
        name_or_path: a name that ``keshin models`` lists, a checkpoint that keshin wrote, or a
            folder as model hubs publish it (OpenCLIP, transformers). A name wins over a folder of
            the same name; write ``./mini`` for the folder.
        threads: of the runtime; default: as many as the machine has.
        providers: ONNX Runtime's execution providers, best first; default: the processor.

    Raises ``CheckpointError``.
    """
    from keshin.encode.runtime import onnx_encoder  # here: the runtime takes 0.2 s to import

    checkpoint, origin = find_checkpoint(name_or_path)
    encoder = onnx_encoder(checkpoint, threads=threads, providers=providers)
    encoder.on_truncation = _warn_truncated
    return Model(encoder, origin=origin)


def load_classifier(
    path: str | os.PathLike[str],
    model: Model | None = None,
    *,
    threads: int | None = None,
    providers: Sequence[str] | None = None,
) -> Classifier:
    """A classifier that ``Classifier.save`` wrote.

    Arguments: ``model``: the model that it was made with; default: it is loaded by the name or
    folder that the file remembers. Raises ``LabelError`` if it belongs to another model, and
    ``CheckpointError`` if that model is not there.
    """
    saved = read_classifier(Path(path))
    if model is None:
        origin = saved.facts.origin or saved.facts.model
        model = load(origin, threads=threads, providers=providers)
    return saved.join(model.encoder)


def embedded_models() -> tuple[str, ...]:
    """The names of the models that come with the package."""
    if not EMBEDDED.is_dir():
        return ()
    return tuple(sorted(entry.parent.name for entry in EMBEDDED.glob(f"*/{FACTS}")))


def find_checkpoint(name_or_path: str | os.PathLike[str]) -> tuple[Checkpoint, str]:
    """The checkpoint meant, and the name or absolute folder by which it is found again."""
    name = os.fspath(name_or_path)
    if name in embedded_models():
        return load_checkpoint(EMBEDDED / name), name
    path = Path(name)
    if not path.exists():
        known = ", ".join(embedded_models()) or "none"
        raise CheckpointError(
            f"There is no model '{name}': no embedded one has that name (there are: {known}), and "
            "no folder."
        )
    if path.is_file() and path.name == FACTS:
        path = path.parent
    if (path / FACTS).is_file():
        return load_checkpoint(path), str(path.resolve())
    return _converted(path), str(path.resolve())


def _converted(path: Path) -> Checkpoint:
    """A model in another project's layout, converted into the cache when it has changed."""
    from keshin.core.foreign import convert

    path = path.resolve()
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    states = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    mark = hashlib.sha256(repr((__version__, states)).encode()).hexdigest()[:16]
    folder = cache_folder() / "converted" / f"{path.name}-{mark}"
    if not (folder / FACTS).is_file():
        convert(path, folder)
    return load_checkpoint(folder)


def _warn_truncated(truncation: Truncation) -> None:
    warnings.warn(
        f"The text '{truncation.text[:60]}' has {truncation.tokens} tokens, the model reads "
        f"{truncation.kept}: its end is not seen.",
        stacklevel=4,
    )
