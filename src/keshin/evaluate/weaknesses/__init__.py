"""Known weaknesses of CLIP models, measured on pictures that keshin draws itself.

``weaknesses(model)`` asks all tasks of ``tasks/`` and gives a ``Report``. A task has questions
(scenes and captions), a figure with chance and interval, a control that shows whether the model
knows the drawings, and a verdict by the rules of ``verdicts.py``. Captions and words lie in TOML
tables beside the code.
"""

from keshin.evaluate.weaknesses.results import Finding, LabelPair, LabelReport, Report
from keshin.evaluate.weaknesses.run import weaknesses
from keshin.statistics.figure import Figure

__all__ = ["Figure", "Finding", "LabelPair", "LabelReport", "Report", "weaknesses"]
