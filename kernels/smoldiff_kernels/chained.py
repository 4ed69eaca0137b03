"""Launches that begin while the one in front of them still runs (programmatic dependent launch)."""

from __future__ import annotations

import functools

import torch


@functools.cache
def can_chain(device: torch.device) -> bool:
    """Whether a device has such launches: NVIDIA's GPUs from Hopper on."""
    if device.type != "cuda" or torch.version.hip is not None:
        return False
    return torch.cuda.get_device_capability(device) >= (9, 0)


def chained(is_chained: bool) -> dict[str, bool]:
    """Keywords of a launch, and of its kernel, which must wait (`gdc_wait`) before it reads what the one in front wrote."""
    return {"IS_CHAINED": True, "launch_pdl": True} if is_chained else {"IS_CHAINED": False}
