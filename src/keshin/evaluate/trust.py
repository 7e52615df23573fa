"""Stand-in."""
from keshin.evaluate.assess import Judged
def calibration(judged: Judged, seed: int): return None
def risk(judged: Judged): return ()
def order(judged: Judged, seed: int): return None
