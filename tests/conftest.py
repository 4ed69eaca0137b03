"""Settings for every test."""

import torch
from hypothesis import settings

# The models here are small: more threads only spin against whatever else the machine runs.
torch.set_num_threads(1)

# The same examples in every run; `--hypothesis-profile=searching` looks for new ones.
settings.register_profile("repeating", derandomize=True)
settings.register_profile("searching", derandomize=False)
settings.load_profile("repeating")
