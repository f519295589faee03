"""Speed and memory, as ratios of things measured side by side: see README.md beside this file."""

import os

# As `electra` sets it before torch loads (electra_cli/cli.py).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
