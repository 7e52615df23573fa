"""A training recipe: one TOML file that says everything about a run.

Unknown names and wrong types are errors; every default is the paper's (section 2.5, table 18) or
says why it is not. Relative paths are relative to the recipe's own folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from keshin.core.config import Facts, Positive, PreprocessFacts, ScoreFacts, TextFacts, VisionFacts
from keshin.core.towers import Size
from keshin.errors import RecipeError
from keshin.train.methods import Count, FinishPart, LockPart, check_finish, check_lock

Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
NonNegative = Annotated[float, msgspec.Meta(ge=0.0)]


class ModelPart(Facts, frozen=True):
    """The towers to train, as in a checkpoint's fact sheet."""

    embed_dim: Positive
    vision: VisionFacts
    text: TextFacts
    preprocess: PreprocessFacts
    score: ScoreFacts = ScoreFacts(kind="softmax")
    init: str | None = None
    """Folder of a checkpoint with these towers to start from, with its tokenizer."""
    init_towers: Literal["both", "image", "text"] = "both"
    """What is taken from there. ``image``: its image tower, the rest is new, with a tokenizer as
    [tokenizer] says; ``text``: its text tower and tokenizer."""


class TokenizerPart(Facts, frozen=True):
    """``clip``: OpenAI's vocabulary; ``learn``: a byte-level BPE learnt from the captions."""

    kind: Literal["clip", "learn"] = "clip"


class Source(Facts, frozen=True):
    """One place where pairs come from: webdataset tars, a table or a folder."""

    path: str | tuple[str, ...]
    """``.tar``, ``.parquet``, ``.csv`` or ``.tsv`` files, or a folder: a name, a glob
    (``*.tar``), a range (``{0000..0123}.tar``) or a list of these; tars also by address
    (``s3://``, ``https://``)."""
    image: str = "image"
    """Column with encoded bytes or with paths relative to the table."""
    captions: tuple[str, ...] = ("captions",)
    """Columns with a caption, or with a list of captions."""
    caption_weights: str | None = None
    """Column with one weight per caption; without it all are drawn alike."""
    teacher: str | None = None
    """Column with a teacher's logits, for ``[distill]``."""
    repeat: NonNegative = 1.0
    """How often each pair is seen in an epoch; 0.5 shows half of them, drawn anew."""
    keep_gb: Positive = 100
    """Room on the disk for tars fetched from addresses."""
    templates: tuple[str, ...] = ()
    """Templates with ``{}`` that a drawn caption is put into; none: as it is."""
    templates_ja: tuple[str, ...] = ()
    """The same for captions in Japanese script."""


class DataPart(Facts, frozen=True):
    """Where the pairs come from and how many processes read them."""

    sources: tuple[Source, ...]
    workers: Count = 2
    window: Positive = 1 << 18
    """Pairs that are shuffled among each other; those of an epoch, if they are fewer. Shards are
    taken in random order, and a window holds as many as fit: the more, the better the mixture."""
    lanes: Positive = 1
    """Parts of a batch that come from different shards. As many as machines, or a multiple: each
    then reads its own shards only. It is part of the order of the pairs; machines are not."""


class AugmentPart(Facts, frozen=True):
    """What is done to a training picture. The paper: a random square crop and nothing else."""

    min_area: Annotated[float, msgspec.Meta(gt=0.0, le=1.0)] = 1.0
    """Smallest share of the largest square that a crop may take; 1: the paper's crop."""
    max_stretch: Annotated[float, msgspec.Meta(ge=1.0)] = 1.0
    flip: Share = 0.0
    blur: Share = 0.0
    """How often a picture is reduced to between a third and the whole of its size first."""
    colour: NonNegative = 0.0
    """Brightness, contrast and saturation change by up to this share."""
    grey: Share = 0.0
    patch_dropout: Annotated[float, msgspec.Meta(ge=0.0, lt=1.0)] = 0.0
    """Share of a picture's patches that a ViT does not see (FLIP, Li et al. 2023)."""
    image_size: Size | None = None
    """(height, width) of the pictures while learning, smaller than the model's own (CLIPA, Li et
    al. 2023; RECLIP, Li et al. 2023); [finish] then shows them at the model's own size."""


class LossPart(Facts, frozen=True):
    """The contrastive loss (paper, Figure 3) and the limit of its temperature (section 2.5)."""

    positives: Literal["pair", "equal", "listed"] = "equal"
    """Which captions of a batch are right for a picture. ``pair``: its own only (paper, Figure 3);
    ``equal``: every equal caption, the same as ``pair`` where none repeat; ``listed``: the same,
    and no other caption that the picture's own list holds counts as wrong."""
    max_logit_scale: float = 100.0


class DistillPart(Facts, frozen=True):
    """Soft labels of a teacher network, as captions of its concepts."""

    concepts: str
    """Parquet with ``captions``, ``caption_weights`` and ``members`` (classes of the teacher)."""
    weight: NonNegative = 1.0
    temperature: Annotated[float, msgspec.Meta(gt=0.0)] = 1.0
    draw: Positive = 128
    """Concepts compared in each step."""
    floor: Annotated[float, msgspec.Meta(gt=0.0)] = 1e-3
    """Added to each probability of the teacher: what it ranks below this is noise."""
    head: NonNegative = 0.0
    """Weight of a second loss: a linear layer on the image features guesses the teacher's own
    classes. It is not part of the model and is left behind after training."""
    templates: tuple[str, ...] = ()
    templates_ja: tuple[str, ...] = ()


class OptimPart(Facts, frozen=True):
    """AdamW, its schedule and how long it runs."""

    batch_size: Positive
    """Pairs of one step, over all processes."""
    epochs: Annotated[float, msgspec.Meta(gt=0.0)]
    micro_batch: Count = 0
    """Pairs that the towers of one process see at once, to save memory; 0: its whole part of the
    batch. The loss is that of the whole batch all the same (gradient caching)."""
    learning_rate: float = 5e-4
    warmup: Count = 2000
    weight_decay: NonNegative = 0.2
    beta1: Share = 0.9
    beta2: Share = 0.98
    eps: float = 1e-6
    max_grad_norm: NonNegative = 0.0
    """0: gradients are not clipped."""
    layer_decay: Annotated[float, msgspec.Meta(gt=0.0, le=1.0)] = 1.0
    """A layer's learning rate is this times that of the layer above it; 1: all alike. For training
    trained weights further (0.65 to 0.85). A layer is a block, or a stage of a ResNet."""
    average: Share = 0.0
    """Decay of the moving average of the weights; 0: none. The average is what is exported."""


class GuardPart(Facts, frozen=True):
    """What is done about steps that would do harm. A healthy run is the same with and without."""

    spike: NonNegative = 10.0
    """A step is left out if its gradient norm is over so many times the largest of the steps
    before, or its loss over so many usual deviations (at least 2 % of ln(batch)) above theirs; 0:
    only if either is not finite."""
    window: Positive = 128
    """Steps that say what is usual; a quarter of them must be known."""
    patience: Positive = 3
    """So many steps left out within a window, and the weights of a checkpoint are put back. The run
    goes on with the next batch: those since the checkpoint are skipped."""
    attempts: Count = 2
    """How often the weights are put back before a quiet window is seen: first those of the last
    checkpoint, then those of the one before. After that the run ends; 0: it ends at once."""


class RunPart(Facts, frozen=True):
    """How a run is carried out; of these only the seed changes what it computes."""

    seed: int = 0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    device: str = "auto"
    threads: Count = 0
    """PyTorch's threads; 0: its own choice."""
    log_every: Positive = 20
    checkpoint_every: Positive = 500
    validate_every: Count = 0
    """Steps between validations; 0: only at the end of each epoch."""
    export: Literal["fp32", "fp16"] = "fp32"
    """How the matrices of the finished checkpoint are stored."""
    shard: bool = False
    """Cut weights, gradients and optimiser state into pieces over the processes (FSDP2), for towers
    that one device cannot hold."""
    recompute: bool = False
    """Recompute the blocks of the Transformers in the backward pass, to save memory."""
    tensorboard: bool = False
    """Write what is logged for TensorBoard too, into the folder of the run."""


class Validation(Facts, frozen=True):
    """Zero-shot accuracy on a labelled table (never test data)."""

    name: str
    path: str
    labels: tuple[str, ...] = ()
    """Class names, in the order of the integers in column ``label``; none: from column ``name``."""
    image: str = "image"
    label: str = "label"
    templates: tuple[str, ...] = ("a photo of a {}.",)
    limit: Count = 0


class SamplesPart(Facts, frozen=True):
    """Pairs that are not trained on, to watch what a model finds: at each validation the captions
    nearest to each picture and the pictures nearest to each caption, as ``samples.html``."""

    path: str
    """A table or folder of pairs, as in ``[[data.sources]]``; never test data."""
    image: str = "image"
    captions: tuple[str, ...] = ("captions",)
    pairs: Positive = 200
    """Pairs that are searched, drawn evenly; the first caption of each."""
    shown: Positive = 8
    """Pictures and captions that are shown with what they find."""
    top: Positive = 5


class Recipe(Facts, frozen=True):
    """A whole run."""

    name: str
    model: ModelPart
    data: DataPart
    optim: OptimPart
    tokenizer: TokenizerPart = TokenizerPart()
    augment: AugmentPart = AugmentPart()
    finish: FinishPart | None = None
    lock: LockPart = LockPart()
    loss: LossPart = LossPart()
    distill: DistillPart | None = None
    guard: GuardPart = GuardPart()
    run: RunPart = RunPart()
    validate: tuple[Validation, ...] = ()
    samples: SamplesPart | None = None
    licence: str = "unknown"
    source: str = "unknown"

    def __post_init__(self) -> None:
        for source in self.data.sources:
            _check_templates(source.templates + source.templates_ja)
        if not self.data.sources:
            raise ValueError("data.sources is empty: name at least one place with pairs")
        if self.model.preprocess.size != self.model.vision.image_size:
            raise ValueError("model.preprocess.size and model.vision.image_size differ")
        check_finish(self)
        check_lock(self)
        if self.distill is not None:
            _check_templates(self.distill.templates + self.distill.templates_ja)
            if not any(source.teacher for source in self.data.sources):
                raise ValueError("[distill] needs a source with a 'teacher' column")

    @property
    def keeps_features(self) -> bool:
        """Whether the features of each picture are computed once."""
        return self.lock.image and self.lock.cache and not self.lock.unlocked


def _check_templates(templates: tuple[str, ...]) -> None:
    for template in templates:
        if template.count("{}") != 1:
            raise ValueError(f"template {template!r} must hold exactly one {{}}")


def read_recipe(path: Path) -> Recipe:
    """Read ``path``; paths inside become absolute. Raises ``RecipeError``."""
    try:
        values = msgspec.toml.decode(path.read_bytes())
    except OSError as error:
        raise RecipeError(f"Cannot read the recipe {path}: {error.strerror}.") from error
    except msgspec.DecodeError as error:
        raise RecipeError(f"{path} is not valid TOML: {error}.") from error
    recipe = parse_recipe(values, origin=str(path))
    return _absolute(recipe, path.resolve().parent)


def parse_recipe(values: Any, *, origin: str) -> Recipe:
    """Check plain values against the recipe's form. Raises ``RecipeError``."""
    try:
        return msgspec.convert(values, type=Recipe)
    except msgspec.ValidationError as error:
        text, _, place = str(error).partition(" - at ")
        where = place.strip("`").removeprefix("$.").removeprefix("$") or "the recipe"
        raise RecipeError(
            f"{origin}: in {where}: {text}. docs/reference/recipe.md lists every setting."
        ) from error


def _based(path: str | tuple[str, ...], base: Path) -> str | tuple[str, ...]:
    if isinstance(path, tuple):
        return tuple(str(_based(each, base)) for each in path)
    return path if "://" in path else str(base / path)


def _absolute(recipe: Recipe, base: Path) -> Recipe:
    replace = msgspec.structs.replace
    sources = tuple(replace(s, path=_based(s.path, base)) for s in recipe.data.sources)
    checks = tuple(replace(v, path=str(base / v.path)) for v in recipe.validate)
    distill = recipe.distill
    if distill is not None:
        distill = replace(distill, concepts=str(base / distill.concepts))
    lock = recipe.lock
    if lock.features is not None:
        lock = replace(lock, features=str(base / lock.features))
    model = recipe.model
    if model.init is not None:
        model = replace(model, init=str(base / model.init))
    data = replace(recipe.data, sources=sources)
    samples = recipe.samples
    if samples is not None:
        samples = replace(samples, path=str(base / samples.path))
    return replace(
        recipe,
        model=model,
        data=data,
        validate=checks,
        samples=samples,
        distill=distill,
        lock=lock,
    )
