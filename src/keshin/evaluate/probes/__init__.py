"""Classifiers learnt from labelled pictures, few-shot curves, the supervised ResNet-50."""

from keshin.evaluate.probes.few_shot import few_shot
from keshin.evaluate.probes.linear_probe import LinearProbe

__all__ = ["LinearProbe", "few_shot"]
