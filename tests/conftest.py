"""Settings of every test run."""

import os

# Two OpenMP pools that spin for each other are many times slower on small machines; set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")
