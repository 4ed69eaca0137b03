"""Several processes that train together on this machine."""

import os
import socket
import sys
import traceback
from collections.abc import Callable

import tiny_head
import torch


def in_processes(num_ranks: int, action: Callable[[int], None]) -> None:
    """Run something in copies of this process that find each other on this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(num_ranks):
        child = os.fork()
        if not child:
            code = 1
            try:
                # The parent's pool of threads is made anew at its first use, which two threads at once must not be.
                torch.set_num_threads(torch.get_num_threads())
                tiny_head.as_rank(rank, num_ranks, port)
                tiny_head.forget_processes()
                action(rank)
                code = 0
            except Exception:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert codes == [0] * num_ranks
