"""Speed and memory, as ratios of measurements taken in turns: see README.md beside this file."""

from electra_cli.cli import let_threads_sleep

let_threads_sleep()
