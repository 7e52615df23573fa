"""What ``import keshin`` offers: load a model, and ask it."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from keshin.core.checkpoint import FACTS, TOKENIZER, Checkpoint, load_checkpoint
from keshin.core.config import Config
from keshin.core.kept import CONVERTED, EMBEDDINGS, QUANTISED
from keshin.core.library import how_to_get, on_this_machine, target
from keshin.core.library import pull as pull_model
from keshin.core.pictures import Mode, Picture, find_pictures
from keshin.core.pulled import Pulled, check, read_record
from keshin.core.stated import gather, statement_file
from keshin.core.tokenizer import Truncation
from keshin.encode.encoder import Encoder, FloatArray
from keshin.encode.engines import Provider, open_encoder
from keshin.errors import CheckpointError
from keshin.facts import releases
from keshin.search.index import PictureIndex

if TYPE_CHECKING:
    from keshin.encode.embedded import Counts, Embedded

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

    def embed(
        self,
        paths: Iterable[str | os.PathLike[str]],
        *,
        cache: bool = True,
        progress: Callable[[Counts], None] | None = None,
    ) -> Iterator[Embedded]:
        """The files and the pictures of folders, each with its unit vector (d,) or its error.

        They come in order and one by one, as folders are walked, so memory is bounded. Vectors are
        kept in the cache folder by the content of the file, unless ``cache`` is False: what was
        encoded once is not encoded again, also after an interrupt.

        Arguments: ``progress``: called after each file with the numbers of those that were cached,
        new and failed.
        """
        from keshin.encode.embedded import embed
        from keshin.encode.embeddings import open_store

        found = find_pictures(paths)
        store = open_store(EMBEDDINGS.folder, self.encoder) if cache else None
        if store is None:
            yield from embed(self.encoder, found, progress=progress)
            return
        with store:
            yield from store.embed(found, progress=progress)

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
    mode: str = "fp32",
    facts: Mapping[str, Any] | str | None = None,
    download: bool = False,
    threads: int | None = None,
    providers: Sequence[Provider] | None = None,
    engine: str = "onnx",
    device: str | None = None,
    decode: Mode = "exact",
    prepack: bool = True,
) -> Model:
    """A model from its name, from a folder, or from a file of weights.

    Arguments:
        name_or_path: a name that ``keshin models`` lists, ``hf:OWNER/NAME`` for another repository
            of the hub, a checkpoint that keshin wrote, or a folder or file as model hubs publish
            them (OpenCLIP, transformers, OpenAI). The name of a model that is here wins over a
            folder of the same name; write ``./mini`` for the folder.
        mode: ``fp32``, the reference; ``int8-safe``, weights in blocks of 8 bits; ``int8``, the
            fastest on a processor; ``bf16`` with PyTorch or OpenVINO. ``keshin info --fidelity``
            measures how far a mode is from the reference.
        facts: what the files of a folder do not state (docs/concepts/checkpoint.md), or the name
            of a release whose facts they are.
        download: fetch a model that is not on this machine; without it nothing is fetched.
        threads: of the runtime, and as many that read pictures beside it (with 1 they take turns);
            default: as many as there are cores.
        providers: ONNX Runtime's execution providers, best first, each a name or a pair of name
            and options; default: the processor.
        engine: ``onnx``; ``openvino`` (needs ``keshin[openvino]``), for bf16 on processors that
            have it; ``torch`` for PyTorch (needs ``keshin[train]``).
        device: of PyTorch: ``cuda``, ``mps``, ``cpu``; default: the first of these that is there.
        decode: how pictures are read: "exact"; "fast", which decodes large JPEGs at a part of their
            size (cosine to exact at least 0.999 on what was measured); or "reference", the original
            with its oversights.
        prepack: rearrange the weights for speed when loading; not worth it for a dozen pictures.

    Raises ``CheckpointError``, ``DownloadError`` for what cannot be fetched, and ``KeshinError``
    for options that do not go together.
    """
    checkpoint, origin = find_checkpoint(name_or_path, facts=facts, download=download)
    encoder = open_encoder(
        checkpoint,
        engine,
        mode=mode,
        threads=threads,
        providers=providers,
        device=device,
        prepack=prepack,
        cache=QUANTISED.folder,
    )
    encoder.on_truncation = _warn_truncated
    encoder.decode = decode
    return Model(encoder, origin=origin)


def load_classifier(
    path: str | os.PathLike[str],
    model: Model | None = None,
    *,
    mode: str = "fp32",
    threads: int | None = None,
    providers: Sequence[Provider] | None = None,
    engine: str = "onnx",
    prepack: bool = True,
) -> Classifier:
    """A classifier that ``Classifier.save`` wrote.

    Arguments: ``model``: the model that it was made with; default: it is loaded by the name or
    folder that the file remembers, with the other arguments as ``load`` takes them. Raises
    ``LabelError`` if it belongs to another model, and ``CheckpointError`` if that model is not
    there.
    """
    saved = read_classifier(Path(path))
    if model is None:
        origin = saved.facts.origin or saved.facts.model
        model = load(
            origin, mode=mode, threads=threads, providers=providers, engine=engine, prepack=prepack
        )
    return saved.join(model.encoder)


class Index(PictureIndex):
    """A folder of pictures that can be searched; ``open`` makes one."""

    @classmethod
    def open(
        cls,
        folder: str | os.PathLike[str],
        model: Model | str | os.PathLike[str] | None = None,
        *,
        index: str | os.PathLike[str] | None = None,
        rebuild: bool = False,
        **options: Any,
    ) -> Index:
        """The index of a folder, made by ``update``; its files are in ``index``, by default in the
        cache folder. ``model``: default: the index's, else the embedded one; another is refused
        when used. ``rebuild``: forget what was there. ``options``: as ``load`` takes them."""

        def choose(known: Mapping[str, str]) -> tuple[Encoder, str]:
            names = {"mode": "precision", "engine": "engine", "decode": "decode"}
            how = {name: known[key] for name, key in names.items() if known and not model}
            one = model or known.get("origin", DEFAULT_MODEL)
            found = one if isinstance(one, Model) else load(one, **how | options)
            return found.encoder, found.origin

        return cls(Path(folder), Path(index) if index else None, choose, rebuild=rebuild)


def embedded_models() -> tuple[str, ...]:
    """The names of the models that come with the package."""
    if not EMBEDDED.is_dir():
        return ()
    return tuple(sorted(entry.parent.name for entry in EMBEDDED.glob(f"*/{FACTS}")))


def find_checkpoint(
    name_or_path: str | os.PathLike[str],
    *,
    facts: Mapping[str, Any] | str | None = None,
    download: bool = False,
) -> tuple[Checkpoint, str]:
    """The checkpoint meant, and the name or absolute folder by which it is found again."""
    name = os.fspath(name_or_path)
    if name in embedded_models() and not facts:
        return load_checkpoint(EMBEDDED / name), name
    path, pulled = Path(name), read_record(records_folder(), name)
    if pulled is None and path.exists():
        if path.is_file() and path.name == FACTS:
            path = path.parent
        if (path / FACTS).is_file() and not facts:
            return load_checkpoint(path), str(path.resolve())
        return _converted(path.resolve(), facts), str(path.resolve())
    if pulled is None or download:
        pulled = _named(name, download)
    else:
        check(pulled)
    return _converted(Path(pulled.folder), facts, pulled), pulled.name


def _named(name: str, download: bool) -> Pulled:
    """A model of the hub by its name."""
    wanted = target(name)
    if wanted is None:
        known = ", ".join(embedded_models()) or "none"
        raise CheckpointError(
            f"There is no model '{name}': no embedded one has that name (there are: {known}), no "
            f"release, and no folder. {releases.near(name)}"
        )
    if download:
        return pull_model(wanted, records_folder())
    pulled = on_this_machine(wanted, records_folder())
    if pulled is None:
        raise CheckpointError(how_to_get(wanted))
    return pulled


def records_folder() -> Path:
    """Where it is remembered which models were pulled."""
    return cache_folder() / "pulled"


def _converted(
    path: Path,
    facts: Mapping[str, Any] | str | None = None,
    pulled: Pulled | None = None,
) -> Checkpoint:
    """A model in another project's layout, converted into the cache when it has changed."""
    stated = gather(path, facts)
    if pulled is not None:
        label, files = pulled.name, [path / file.name for file in pulled.files]
        stated = {"name": label, "source": f"{pulled.repo} at {pulled.commit}", **stated}
    else:
        label, files = path.name, _files_of(path)
    states = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    mark = hashlib.sha256(repr((__version__, states, sorted(stated.items()))).encode())
    plain = label.replace("/", "--").replace(":", "-")
    folder = CONVERTED.folder / f"{plain}-{mark.hexdigest()[:16]}"
    if not (folder / FACTS).is_file():
        from keshin.core.foreign import convert

        release = releases.find(pulled.name) if pulled is not None else None
        if release is not None:
            stated = {"licence": release.licence, **stated}
        convert(path, folder, stated, release=release)
    return load_checkpoint(folder)


def _files_of(path: Path) -> list[Path]:
    """The files that make a model; the statement on it counts by what it says."""
    if path.is_file():
        beside = (path.with_name(name) for name in (FACTS, TOKENIZER))
        return [path, *(file for file in beside if file.is_file())]
    return [file for file in sorted(path.iterdir()) if file != statement_file(path)]


def _warn_truncated(truncation: Truncation) -> None:
    warnings.warn(
        f"The text '{truncation.text[:60]}' has {truncation.tokens} tokens, the model reads "
        f"{truncation.kept}: its end is not seen.",
        stacklevel=4,
    )
