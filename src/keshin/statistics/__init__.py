"""Metrics, intervals, comparisons, calibration: numbers about answers, which know no pictures."""
