"""Pre-train ELECTRA text encoders."""

__version__ = "0.1.0"
