"""The network that fills holes, its checkpoints, and the Inpainter around it; no HTTP, no training."""

import os

# Torch's threads go on spinning after each operation, as a rule for milliseconds, lest they have to be woken
# for the next. That takes the cores from what is computed in between. GNU OpenMP reads this when it is
# loaded, with torch, so it must be said before.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
