"""Settings for all tests."""

import os

# Several pytest workers, and the notebooks' kernels, share the cores: one thread each is faster than all of them in
# each, and sums of floats don't depend on the machine. Read by torch when it is first imported, so it is set here.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Nothing in the tests is fetched: models are small random ones, and names of hubs must fail at once.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
