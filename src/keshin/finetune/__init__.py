"""Fine-tuning for people with a hundred pictures: probes, adapters, whole models, and the choice.

The package can be called, which is ``keshin.finetune.running.finetune``:

>>> keshin.finetune("mini", "photos/", "photos-tuned/").chosen  # doctest: +SKIP
'text'

Probes need ``[eval]`` only; modules named ``torch_*`` tune whole models and need ``[train]``.
"""

import sys
from types import ModuleType
from typing import Any

from keshin.finetune.plans import METHODS, PLANS, Plan
from keshin.finetune.results import Result, read_result

__all__ = ["METHODS", "PLANS", "Plan", "Result", "read_result"]


class _Called(ModuleType):
    """This package as a function."""

    def __call__(self, *given: Any, **options: Any) -> Result:
        from keshin.finetune.running import finetune

        return finetune(*given, **options)


sys.modules[__name__].__class__ = _Called
