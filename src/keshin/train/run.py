"""A run: what is set up once, and what comes out at the end."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from msgspec.structs import replace
from torch import Tensor, nn

from keshin.core.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from keshin.core.config import FORMAT, Config
from keshin.core.foreign.positions import fit_positions
from keshin.core.tokenizer import Tokenizer
from keshin.encode.encoder import Encoder
from keshin.encode.torch_model import CLIP
from keshin.encode.torch_towers import TorchTowers, best_device, load_model, to_tensors
from keshin.errors import RecipeError
from keshin.train.data import Pool, epoch_length
from keshin.train.distributed import ALONE, World
from keshin.train.features import Features, folder_of
from keshin.train.layer_rates import IMAGE, TEXT, tower_of
from keshin.train.lock import lock
from keshin.train.optim import WeightAverage, make_optimizer
from keshin.train.passes import Towers, autocast, shared
from keshin.train.phases import begin_small
from keshin.train.recipe import Recipe
from keshin.train.sharding import whole
from keshin.train.state import State
from keshin.train.teacher import Concepts

MODEL = "model"
PICTURE_POSITIONS = ("visual.positional_embedding", "visual.attnpool.positional_embedding")


@dataclass
class Run:
    """Everything that is set up once for a run."""

    recipe: Recipe
    output: Path
    pool: Pool
    tokenizer: Tokenizer
    config: Config
    concepts: Concepts | None
    device: torch.device
    state: State
    towers: nn.Module
    """The trained parameters as ``passes.Towers``, wrapped where several processes share them."""
    world: World = ALONE
    held: list[nn.Module] = field(default_factory=list)
    """What stays in evaluation mode while the rest learns; see ``lock``."""

    def learn(self) -> None:
        """Put the model into training mode, but for what is locked."""
        self.state.model.train()
        for module in self.held:
            module.eval()

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run."""
        optim = self.recipe.optim
        pairs = optim.epochs * epoch_length(self.pool.sizes)
        return max(1, int(pairs / optim.batch_size))


@dataclass(frozen=True)
class Opened:
    """What a recipe says, as far as it takes no weights: data, tokenizer and fact sheet."""

    pool: Pool
    tokenizer: Tokenizer
    config: Config
    start: Checkpoint | None
    """The checkpoint that the run begins with."""


def open_recipe(recipe: Recipe) -> Opened:
    """Open the data, learn or load the tokenizer, and write the fact sheet."""
    pool = Pool(recipe)
    text = recipe.model.text
    start = load_checkpoint(Path(recipe.model.init)) if recipe.model.init else None
    taken = recipe.model.init_towers
    tokenizer = start.tokenizer() if start and taken != IMAGE else _tokenizer(recipe, pool)
    config = Config(
        format=FORMAT,
        name=recipe.name,
        embed_dim=recipe.model.embed_dim,
        vision=recipe.model.vision,
        text=text,
        tokenizer=tokenizer.facts,
        preprocess=recipe.model.preprocess,
        score=recipe.model.score,
        licence=recipe.licence,
        source=recipe.source,
    )
    return Opened(pool, tokenizer, config, start)


def prepare(
    recipe: Recipe, output: Path, world: World = ALONE, opened: Opened | None = None
) -> Run:
    """Open the data unless it is, make the model and the optimiser; writes nothing."""
    if recipe.run.threads:
        torch.set_num_threads(recipe.run.threads)
    torch.manual_seed(recipe.run.seed)
    opened = open_recipe(recipe) if opened is None else opened
    pool, tokenizer, config, start = opened.pool, opened.tokenizer, opened.config, opened.start
    device = device_of(recipe)
    if device.type == "cuda" and world.size > 1:
        device = torch.device("cuda", world.local)
    taken = recipe.model.init_towers
    model = CLIP(config) if start is None else _started(config, start, taken)
    if start is None or taken == TEXT:
        begin_small(model, recipe)
    # Convolutions are faster with the colours last, but PyTorch cannot cut such weights.
    order = torch.contiguous_format if recipe.run.shard else torch.channels_last
    model = model.to(device, memory_format=order)  # type: ignore[call-overload]
    set_up(model, recipe)
    held = lock(model, recipe.lock)
    concepts = Concepts(recipe.distill) if recipe.distill else None
    head = None
    if concepts is not None and concepts.recipe.head:
        head = nn.Linear(config.embed_dim, concepts.classes).to(device)
    both = Towers(model, head, plain=plain_attention(recipe, device))
    towers = shared(both, device, world, pieces=recipe.run.shard)  # replaces the parameters
    average = WeightAverage(model, recipe.optim.average) if recipe.optim.average else None
    state = State(model, make_optimizer(both, recipe.optim), average, head)
    run = Run(recipe, output, pool, tokenizer, config, concepts, device, state, towers, world)
    run.held = held
    if recipe.keeps_features:
        half = autocast(recipe.run.precision, device)
        precision = str(half.fast_dtype) if half._enabled else "float32"
        pool.kept = Features(folder_of(recipe, model, precision), config.embed_dim)
    return run


def set_up(model: CLIP, recipe: Recipe) -> None:
    """What a recipe asks of the towers while they learn: recomputation, patches left out."""
    if recipe.run.recompute:
        model.recompute()
    if recipe.augment.patch_dropout and not model.leave_out_patches(recipe.augment.patch_dropout):
        raise RecipeError(
            f"augment.patch_dropout is {recipe.augment.patch_dropout}, but this image tower "
            f"({recipe.model.vision.__struct_config__.tag}) has no patches to leave out. "
            "Set it to 0."
        )


def plain_attention(recipe: Recipe, device: torch.device) -> bool:
    """See ``Towers.plain``. Recomputation must meet the same kernel again, and it happens outside
    of the forward pass, so it takes the fused one."""
    return device.type == "cpu" and not recipe.run.recompute


def device_of(recipe: Recipe) -> torch.device:
    """The device that a recipe names, or the best one here."""
    named = recipe.run.device
    return torch.device(best_device() if named == "auto" else named)


def _tokenizer(recipe: Recipe, pool: Pool) -> Tokenizer:
    text = recipe.model.text
    if recipe.tokenizer.kind == "clip":
        return Tokenizer.clip(text.context_length)
    extra = recipe.distill.templates + recipe.distill.templates_ja if recipe.distill else ()
    return Tokenizer.train([*pool.captions(), *extra], text.vocab_size, text.context_length)


def _started(config: Config, start: Checkpoint, taken: str) -> CLIP:
    """A model with what it takes of a checkpoint, which may be for another picture size.

    ``taken``: see ``ModelPart.init_towers``.
    """
    size = config.vision.image_size
    for name, tower, wanted, found in (
        ("embed_dim", taken, config.embed_dim, start.config.embed_dim),
        ("vision", IMAGE, config.vision, replace(start.config.vision, image_size=size)),
        ("text", TEXT, config.text, start.config.text),
    ):
        if wanted != found and taken in ("both", tower):
            raise RecipeError(
                f"{start.directory} holds other towers than the recipe's [model]: {name} differs. "
                f"Copy {name} from its keshin.json (image_size may differ), or leave out "
                "model.init."
            )
    model = CLIP(config)
    state = load_model(start).state_dict()
    own = model.state_dict()
    for name in own.keys() & state.keys():
        if taken in ("both", tower_of(name)):
            value = state[name]
            if name.endswith(PICTURE_POSITIONS):
                value = _resized(value, own[name], config.vision.grid, str(start.directory))
            own[name] = value
    model.load_state_dict(own)
    return model.eval()


def _resized(positions: Tensor, like: Tensor, grid: tuple[int, int], origin: str) -> Tensor:
    """Picture positions for another grid, with or without one for the class token."""
    values = positions.numpy()
    first = len(like) - grid[0] * grid[1]
    if not first:
        values = np.concatenate([values[:1], values])
    fitted = fit_positions(values, grid, origin=origin)
    return torch.from_numpy(fitted if first else fitted[1:])


def averaged(run: Run) -> CLIP:
    """The model whose weights are the moving average, or the model itself without one.

    Called by all processes; the weights are whole.
    """
    average = run.state.average
    if average is None and not run.recipe.run.shard:
        return run.state.model
    tensors = run.state.model.state_dict() if average is None else average.tensors
    model = CLIP(run.config).to(run.device)
    model.load_state_dict(whole(tensors))
    return model


def encoder(run: Run) -> Encoder:
    """The model as it stands, in evaluation mode, for validators; called by all processes."""
    model = averaged(run).eval()
    scale = float(model.logit_scale.detach().exp())
    bias = float(model.logit_bias.detach()) if run.config.score.kind == "sigmoid" else 0.0
    return Encoder(run.config, run.tokenizer, TorchTowers(model, run.device), scale, bias)


def export(run: Run) -> Path:
    """Write the finished checkpoint to ``output/model``; called by all processes."""
    folder = run.output / MODEL
    tensors = to_tensors(averaged(run))
    if not run.world.first:
        return folder
    if run.recipe.run.export == "fp16":
        tensors = {n: t.astype(np.float16) if t.ndim >= 2 else t for n, t in tensors.items()}
    return save_checkpoint(folder, run.config, tensors, run.tokenizer)
