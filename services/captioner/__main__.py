"""`python -m services.captioner` serves the captioner until SIGTERM."""

import os

# Read by OpenMP when torch is first imported: threads that wait by spinning slow each other down ninefold as soon as
# another process wants the same cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from chassis.server import run
from services.captioner.application import open_application
from services.captioner.config import CaptionerConfig

if __name__ == "__main__":
    run("captioner", CaptionerConfig, open_application)
