"""Speed and memory, as ratios of things measured side by side: see README.md beside this file."""

from electra_cli.cli import limit_spinning

limit_spinning()
