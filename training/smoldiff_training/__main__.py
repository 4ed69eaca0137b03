"""Train from a configuration file.

python -m smoldiff_training CONFIG.yaml
accelerate launch -m smoldiff_training CONFIG.yaml     (several GPUs)
"""

from __future__ import annotations

import sys
from pathlib import Path

from smoldiff_training.config import ConfigError, read_config


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        cfg = read_config(Path(arguments[0]))
    except ConfigError as problem:
        print(f"{arguments[0]}: {problem}", file=sys.stderr)
        return 2
    # torch and transformers wait until the configuration is known to be right
    from smoldiff_training.base.loop import train

    train(cfg)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
