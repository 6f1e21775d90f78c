"""`python -m services.compositor` serves the compositor until SIGTERM."""

import os

# Read by NumPy's OpenBLAS when it is loaded: its threads spin for a tenth of a second after each product of matrices,
# and so take the cores from the pictures. The products here are small.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

if __name__ == "__main__":
    from chassis.server import run
    from services.compositor.application import open_application
    from services.compositor.config import CompositorConfig

    run("compositor", CompositorConfig, open_application)
