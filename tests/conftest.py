"""Settings for every test."""

import torch

# The models here are small: more threads only spin against whatever else the machine runs.
torch.set_num_threads(1)
