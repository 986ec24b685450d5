"""The experiments of the paper on a data set: accuracy, convergence, robustness and cost, as tables and figures."""

from resolvent.evaluate.methods import Method, load_models
from resolvent.evaluate.robustness import Search
from resolvent.evaluate.scans import Acquisition, Files
from resolvent.evaluate.store import Store
from resolvent.evaluate.study import BASELINES, Study

__all__ = ["BASELINES", "Acquisition", "Files", "Method", "Search", "Store", "Study", "load_models"]
