"""GPUs, cores, memory and disks, and what fits on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from smoldiff.doctor.check import Ability, Check
from smoldiff.doctor.machine import Folder, Gpu, Machine
from smoldiff.doctor.memory import GIB, SMOLLM3, Shape, serve_bytes, train_bytes, weight_bytes

FEWEST_CORES = 2
CACHE_BYTES = GIB
RUN_BYTES = 8 * GIB
"""What a training run of SmolLM3-3B's head writes: two checkpoints with optimizer states, and the data it prepares."""
PRECISIONS = {16: "bf16", 4: "4-bit"}
NEEDED: dict[Ability, Callable[[Shape, int], int]] = {"serve": serve_bytes, "train": train_bytes}


def check_hardware(machine: Machine) -> Iterator[Check]:
    if machine.torch.gpus:
        for idx, gpu in enumerate(machine.torch.gpus):
            yield check_gpu(f"GPU {idx}", gpu)
    else:
        yield check_no_gpu(machine)
    if len(machine.torch.gpus) > 1:
        yield check_nccl(machine)
    yield check_cores(machine.num_cores)
    yield check_ram(machine.ram_bytes)
    yield from check_folders(machine)
    yield from check_fits(machine)


def check_gpu(name: str, gpu: Gpu) -> Check:
    memory = f"{gib(gpu.total_bytes)} of memory, {gib(gpu.free_bytes)} free"
    capability = f", compute capability {gpu.compute_capability}" if gpu.compute_capability else ""
    found = f"{gpu.name}, {memory}{capability}"
    if gpu.has_bf16:
        return Check(name, "ok", f"{found}, bf16")
    return Check(name, "warn", f"{found}, no bf16", "load models with dtype='float16'")


def check_no_gpu(machine: Machine) -> Check:
    if machine.torch.has_mps:
        return Check("GPU", "ok", "Apple's; its memory is the RAM")
    if machine.has_nvidia_driver and not machine.torch.cuda:
        todo = "install a CUDA build of torch: https://pytorch.org/get-started/locally"
        return Check("GPU", "warn", "there is an NVIDIA driver, but torch is built for CPUs", todo)
    if machine.has_nvidia_driver:
        todo = "update the NVIDIA driver, or see what CUDA_VISIBLE_DEVICES hides"
        return Check("GPU", "warn", f"torch, built for {machine.torch.cuda}, sees none", todo)
    todo = "take a machine with one to train, or to serve billions of parameters"
    return Check("GPU", "warn", "none: the CPU does all the work", todo)


def check_nccl(machine: Machine) -> Check:
    if machine.torch.has_nccl:
        return Check("NCCL", "ok", "in torch")
    todo = "install a torch build with NCCL (Linux), or train on one GPU"
    return Check("NCCL", "missing", "not in torch: the GPUs cannot train together", todo)


def check_cores(num_cores: int) -> Check:
    if num_cores >= FEWEST_CORES:
        return Check("CPU cores", "ok", str(num_cores))
    todo = f"give it {FEWEST_CORES} or more: grammars and training data are made on them"
    return Check("CPU cores", "warn", str(num_cores), todo)


def check_ram(ram_bytes: int) -> Check:
    if not ram_bytes:
        return Check("RAM", "ok", "the system does not say")
    needed = weight_bytes(SMOLLM3, 16)
    if ram_bytes >= needed:
        return Check("RAM", "ok", gib(ram_bytes))
    todo = f"{SMOLLM3.name} needs {gib(needed)} to load; take a smaller model or more RAM"
    return Check("RAM", "warn", gib(ram_bytes), todo)


def check_folders(machine: Machine) -> Iterator[Check]:
    if machine.cache is None:
        yield Check("cache", "ok", "switched off by SMOLDIFF_CACHE")
    else:
        todo = "set SMOLDIFF_CACHE to a folder that can be written and has {} free"
        yield check_folder("cache", machine.cache, CACHE_BYTES, todo)
    todo = "set HF_HOME to a folder that can be written and has {} free"
    yield check_folder("models", machine.models, weight_bytes(SMOLLM3, 16), todo)
    todo = "start training runs where one can write and {} are free"
    yield check_folder("this folder", machine.here, RUN_BYTES, todo)


def check_folder(name: str, folder: Folder, needed_bytes: int, todo: str) -> Check:
    """`todo` has a gap for the space that is needed."""
    todo = todo.format(gib(needed_bytes))
    if folder.problem:
        return Check(name, "warn", f"{folder.path}: {folder.problem}", todo)
    found = f"{folder.path}, {gib(folder.free_bytes)} free"
    is_enough = folder.free_bytes >= needed_bytes
    return Check(name, "ok", found) if is_enough else Check(name, "warn", found, todo)


def check_fits(machine: Machine) -> Iterator[Check]:
    """Whether there is enough memory for SmolLM3-3B, by estimate."""
    for ability in NEEDED:
        for bits in PRECISIONS:
            yield check_fit(machine, ability, bits)


def check_fit(machine: Machine, ability: Ability, bits: int) -> Check:
    name = f"{ability} {SMOLLM3.name}, {PRECISIONS[bits]}"
    needed_bytes = NEEDED[ability](SMOLLM3, bits)
    available_bytes, place = _memory_for(machine, ability, bits)
    found = f"needs about {gib(needed_bytes)} of {place}"
    if available_bytes >= needed_bytes:
        return Check(name, "ok", found)
    todo = f"take a GPU with {gib(needed_bytes)} free, or a smaller base"
    if ability == "serve" and bits == 16:
        todo += f"; load_in_4bit=True needs {gib(serve_bytes(SMOLLM3, 4))} of a GPU"
    return Check(name, "warn", found, todo)


def _memory_for(machine: Machine, ability: Ability, bits: int) -> tuple[int, str]:
    if machine.torch.gpus:
        return max(gpu.free_bytes for gpu in machine.torch.gpus), "GPU memory"
    if machine.torch.has_mps:
        return machine.ram_bytes, "RAM"
    if ability == "serve" and bits == 16:
        return machine.ram_bytes, "RAM, with dtype='bfloat16'"
    return 0, "GPU memory"


def gib(num_bytes: int) -> str:
    return f"{num_bytes / GIB:.1f} GiB"
