"""CUDA as far as the torch runtime asks for it, on a machine without."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch


class FakeCuda:
    """Streams, pinned memory and copies that do nothing but say what was asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entered: list[Any] = []
        self.waited: list[str] = []
        self.pinned = 0
        self.copies: list[tuple[torch.device, bool]] = []
        fake = self

        class Stream:
            def __init__(self, device: torch.device) -> None:
                self.device = device

            def wait_stream(self, stream: str) -> None:
                fake.waited.append(stream)

        @contextmanager
        def stream(entered: Stream) -> Iterator[None]:
            fake.entered.append(entered)
            yield

        def pin_memory(tensor: torch.Tensor) -> torch.Tensor:
            fake.pinned += 1
            return tensor

        to = torch.Tensor.to

        def copied(tensor: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
            if args and isinstance(args[0], torch.device) and args[0].type == "cuda":
                fake.copies.append((args[0], options.get("non_blocking", False)))
                return tensor
            return to(tensor, *args, **options)

        monkeypatch.setattr(torch.cuda, "Stream", Stream)
        monkeypatch.setattr(torch.cuda, "stream", stream)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"current of {device}")
        monkeypatch.setattr(torch.Tensor, "pin_memory", pin_memory)
        monkeypatch.setattr(torch.Tensor, "to", copied)
