"""Runs the ranker: `python -m services.ranker`."""

import os

# Read by NumPy's OpenBLAS when it is loaded: its threads spin for a tenth of a second after each product of matrices,
# and so take the cores from the model. The products here are small.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

if __name__ == "__main__":
    # The engine's process imports this module too, and needs none of this.
    from chassis.server import run
    from services.ranker.application import open_application
    from services.ranker.config import RankerConfig

    run("ranker", RankerConfig, open_application)
