"""Work of a GPU beside other work of it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch


class Beside:
    """What is launched inside runs on a stream of its own, beside what is launched behind it until `join`.

    It sees all that was launched before. In a CUDA graph it becomes a branch. On a CPU nothing is special.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._context: AbstractContextManager[Any] = nullcontext()

    def __enter__(self) -> Beside:
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
            self._context = torch.cuda.stream(self._stream)
        self._context.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._context.__exit__(*error)

    def join(self) -> None:
        """From here on what was launched inside can be read."""
        if self._stream is not None:
            torch.cuda.current_stream(self._stream.device).wait_stream(self._stream)
