"""The parts of a recipe by which a run learns more in the same time: its finish, locked towers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec

from keshin.core.config import Facts

if TYPE_CHECKING:
    from keshin.train.recipe import Recipe

Count = Annotated[int, msgspec.Meta(ge=0)]


class FinishPart(Facts, frozen=True):
    """The last steps of a run: at the model's own picture size, and with all patches.

    The learning rate takes its course, and a run that is killed goes on in the part where it was.
    """

    share: Annotated[float, msgspec.Meta(gt=0.0, le=1.0)] = 0.1
    """Of all steps."""
    patch_dropout: Annotated[float, msgspec.Meta(ge=0.0, lt=1.0)] = 0.0


class LockPart(Facts, frozen=True):
    """Towers that are not trained (LiT, Zhai et al. 2022: a trained image tower, a text tower that
    learns to read it). Needs model.init, and model.init_towers says what is taken from there."""

    image: bool = False
    text: bool = False
    unlocked: Count = 0
    """Layers at the top of a locked tower that are trained all the same: 1 is what follows its last
    block or stage, 2 that and the last one."""
    cache: bool = True
    """Compute the features of a picture once, if the image tower is locked as a whole: of the
    picture as it is used after training, so [augment] does nothing; the first record of the log
    says what is lost. false: the locked tower sees each picture anew."""
    features: str | None = None
    """Folder that keeps the features, for other runs too; none: the user's cache."""


def check_finish(recipe: Recipe) -> None:
    """Raises ``ValueError`` for a picture size that would never be finished."""
    small, own = recipe.augment.image_size, recipe.model.vision
    if small is None or small == own.image_size:
        return
    if recipe.finish is None:
        raise ValueError(
            "augment.image_size is not the model's own, and there is no [finish], so the model "
            "would never see its own picture size. Add [finish] with share = 0.1"
        )
    if any(side % own.step for side in small):
        raise ValueError(
            f"augment.image_size is {small[0]} x {small[1]}; both must be multiples of {own.step}"
        )


def check_lock(recipe: Recipe) -> None:
    """Raises ``ValueError`` for locked towers that cannot be."""
    lock, taken = recipe.lock, recipe.model.init_towers
    for name in ("image", "text"):
        if getattr(lock, name) and (recipe.model.init is None or taken not in ("both", name)):
            raise ValueError(
                f"lock.{name} is set, but the {name} tower is new. Give model.init a "
                f'checkpoint that holds it, and model.init_towers "{name}" or "both"'
            )
    if lock.image and lock.text and not lock.unlocked:
        raise ValueError("lock.image and lock.text leave nothing to train. Set lock.unlocked")
    if recipe.keeps_features and recipe.augment.image_size is not None:
        raise ValueError(
            "augment.image_size saves nothing where the features of each picture are computed "
            "once. Leave it out, or set lock.cache = false"
        )
    if recipe.keeps_features and recipe.run.shard:
        raise ValueError(
            "run.shard cuts the locked image tower into pieces, so its features cannot be "
            "kept. Set lock.cache = false, or run.shard = false"
        )
