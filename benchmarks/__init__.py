"""Speed and memory, as ratios of measurements taken in turns: see README.md beside this file."""

from electra_cli.cli import limit_spinning

limit_spinning()
