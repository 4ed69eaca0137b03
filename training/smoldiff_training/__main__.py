"""Train from a configuration file.

python -m smoldiff_training CONFIG.yaml
accelerate launch -m smoldiff_training CONFIG.yaml     (several GPUs)
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from smoldiff_training.config import ConfigError, read_config

LOOPS = {"base": "smoldiff_training.base.loop", "head": "smoldiff_training.head.loop"}


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        cfg = read_config(Path(arguments[0]))
        # torch and transformers wait until the configuration is known to be right
        import_module(LOOPS[cfg.kind]).train(cfg)
    except ConfigError as problem:
        print(f"{arguments[0]}: {problem}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
