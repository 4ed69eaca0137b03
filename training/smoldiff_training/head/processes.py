"""One process or several: how a loss is spread over them, and what they tell each other."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from smoldiff_training.config import ConfigError
from smoldiff_training.head.config import HeadTrainConfig

WAITING = timedelta(hours=2)  # the other processes wait while the first one evaluates


def new_accelerator(cfg: HeadTrainConfig) -> Any:
    """The processes that this run has, as `accelerate launch` started them. Raises ConfigError."""
    # cuDNN's attention plans each new shape anew, which takes longer than the step; other kernels do not.
    torch.backends.cuda.enable_cudnn_sdp(False)
    from accelerate import Accelerator
    from accelerate.utils import DistributedType, InitProcessGroupKwargs

    on_gpu = torch.cuda.is_available()
    is_bfloat16 = cfg.precision == "bfloat16" or (cfg.precision == "auto" and on_gpu)
    tracker = None if cfg.tracker == "none" else cfg.tracker
    accelerator = Accelerator(
        cpu=not on_gpu,
        mixed_precision="bf16" if is_bfloat16 else "no",
        log_with=tracker,
        project_dir=cfg.out,
        kwargs_handlers=[InitProcessGroupKwargs(timeout=WAITING), ddp_options(cfg)],
    )
    if accelerator.distributed_type == DistributedType.FSDP:
        raise ConfigError(
            "sharding: accelerate was set up for FSDP by itself; run `accelerate launch` without it"
            " and set `sharding: fsdp2`. FSDP1 is not supported: it leaves no matrices to Muon"
        )
    if cfg.reduce_dtype == "bfloat16" and accelerator.num_processes > 1 and not on_gpu:
        raise ConfigError("reduce_dtype: bfloat16 needs GPUs; set it to float32")
    return accelerator


def ddp_options(cfg: HeadTrainConfig) -> Any:
    """How DDP exchanges gradients: they live in its buckets instead of a second copy of them.

    Its bucket size stays: a large head's matrices are buckets of their own, and the last one has nothing to hide behind.
    """
    from accelerate.utils import DDPCommunicationHookType, DistributedDataParallelKwargs

    is_half = cfg.reduce_dtype == "bfloat16"
    return DistributedDataParallelKwargs(
        gradient_as_bucket_view=True,
        comm_hook=DDPCommunicationHookType.BF16 if is_half else DDPCommunicationHookType.NO,
    )


def spread(loss: nn.Module, accelerator: Any, cfg: HeadTrainConfig) -> Any:
    """The loss on this process's device: as it is on one process, wrapped on several.

    `fsdp2` cuts parameters, gradients and optimiser states by rows, and puts the head together for each forward and
    backward pass: one unit, because parts of its layers are used from outside their own forward. `fully_shard` itself
    rather than accelerate's plugin, which refuses to run on CPUs and so cannot be tested there.
    """
    loss.to(accelerator.device)
    if cfg.sharding == "ddp" or accelerator.num_processes == 1:
        return accelerator.prepare(loss)
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    for p in loss.parameters():
        dist.broadcast(p.data, src=0)  # each process cuts its own copy, so all must be equal
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    # Autocast sets the precision, as under DDP; inputs stay as they are.
    reduce_dtype = getattr(torch, cfg.reduce_dtype)
    policy = MixedPrecisionPolicy(reduce_dtype=reduce_dtype, cast_forward_inputs=False)
    fully_shard(loss, mesh=mesh, mp_policy=policy)
    return loss


def syncing(loss: Any, is_last: bool) -> AbstractContextManager[None]:
    """A context for forward and backward: gradients leave their process with the last batch of a step only."""
    if hasattr(loss, "set_requires_gradient_sync"):  # FSDP2
        loss.set_requires_gradient_sync(is_last)
        return nullcontext()
    if is_last or not hasattr(loss, "no_sync"):
        return nullcontext()
    context: AbstractContextManager[None] = loss.no_sync()
    return context


def mean_over_processes(value: Tensor) -> Tensor:
    """The mean of a number that each process has, without a gradient.

    A loss that divides by what it finds in its own batch must divide by the mean of that over the processes, or the
    mean of their losses is not the loss of the whole batch.
    """
    value = value.detach().clone()
    if dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(value)
        value /= dist.get_world_size()
    return value
