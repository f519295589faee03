"""Pre-train ELECTRA text encoders."""

import sys

__version__ = "0.1.0"

# Signals, locks and limits of memory are those of POSIX systems.
if sys.platform == "win32":
    raise SystemExit("electra runs on Linux and macOS; on Windows, install it in WSL")
