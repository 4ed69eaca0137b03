"""Train from a configuration file.

python -m smoldiff_training CONFIG.yaml --set optim.max_steps=100
accelerate launch -m smoldiff_training CONFIG.yaml     (several GPUs)
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path

from smoldiff.errors import SmoldiffError
from smoldiff_training.config import ConfigError, read_config

LOOPS = {"base": "smoldiff_training.base.loop", "head": "smoldiff_training.head.loop"}


def main(arguments: list[str]) -> int:
    """The status that the program ends with: 2, and one line of error, where a run is refused or breaks off."""
    try:
        args = parse(arguments)
    except SystemExit as stop:  # what argparse raises for --help too
        return int(stop.code or 0)
    try:
        cfg = read_config(args.config, args.settings)
        # torch and transformers wait until the configuration is known to be right
        import_module(LOOPS[cfg.kind]).train(cfg)
    except (ConfigError, SmoldiffError, FloatingPointError) as problem:
        print(f"{args.config}: {problem}", file=sys.stderr)
        return 2
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="smoldiff_training",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", type=Path, metavar="CONFIG.yaml")
    parser.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="in place of the file's value; any number of them",
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
