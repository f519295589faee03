"""All benchmarks, or the named ones, each in its own process: python -m benchmarks [NAME]..."""

import subprocess
import sys

PARTS = (
    "training_step",
    "training_memory",
    "input_stream",
    "preparation",
    "start_up",
    "reduction",
    "fine_tuning",
)


def main() -> None:
    parts = sys.argv[1:] or PARTS
    unknown = sorted(set(parts) - set(PARTS))
    if unknown:
        sys.exit(f"no benchmark {', '.join(unknown)}; there are: {', '.join(PARTS)}")
    for part in parts:
        print(f"== {part}", flush=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.{part}"], check=True)


if __name__ == "__main__":
    main()
