"""Which memory an engine needs and how tensors lie in it. Worked out once, when the engine is loaded; nothing of CUDA.

Every input and output has one buffer, large enough for the largest shape of any profile. On an integrated GPU a buffer
is pinned host memory that the GPU reads in place (zero copies); on a card it is a pinned half and a half on the card.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from appliance.errors import EngineUnavailable

MAX_BUFFER_BYTES: Final = 2 * 1024**3
"""No network of this product has a tensor near this; an engine that asks for more is not one of ours."""


class Device(Protocol):
    """What a runner needs of CUDA: `nvidia.CudaDevice` in service, a fake in tests."""

    shared_memory: bool

    @property
    def stream_handle(self) -> int: ...
    def active(self) -> AbstractContextManager[None]: ...
    def allocate_host(self, size_bytes: int) -> tuple[npt.NDArray[np.uint8], int]: ...
    def allocate_device(self, size_bytes: int) -> tuple[Any, int]: ...
    def upload(self, address: int, host: npt.NDArray[np.uint8]) -> None: ...
    def download(self, host: npt.NDArray[np.uint8], address: int) -> None: ...
    def synchronize(self) -> None: ...
    def capture(self, work: Callable[[], None]) -> Callable[[], None]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorPlan:
    """One tensor of an engine: its type, and the largest shape that any profile gives it."""

    name: str
    is_input: bool
    dtype: np.dtype[Any]
    largest: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        """Room for the largest shape; at least one byte, because no address is given for none."""
        size = max(math.prod(self.largest) * self.dtype.itemsize, 1)
        if not size <= MAX_BUFFER_BYTES or min(self.largest, default=1) < 0:
            raise EngineUnavailable(f"tensor {self.name!r}: expected a bounded shape; found {list(self.largest)}")
        return size


@dataclass(frozen=True, slots=True, kw_only=True)
class Buffer:
    """Where one tensor lies: ``host`` bytes that we touch, ``address`` that the GPU takes. ``owner`` keeps it alive."""

    plan: TensorPlan
    host: npt.NDArray[np.uint8]
    address: int
    owner: Any

    def view(self, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        """The front of the buffer as an array of ``shape``. Raises ``EngineUnavailable`` where it is too small."""
        size = math.prod(shape) * self.plan.dtype.itemsize
        if min(shape, default=1) < 0 or size > len(self.host):
            room = list(self.plan.largest)
            raise EngineUnavailable(f"tensor {self.plan.name!r}: expected at most {room}; found {list(shape)}")
        return self.host[:size].view(self.plan.dtype).reshape(shape)

    def used(self, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
        """The bytes that an array of ``shape`` takes."""
        return self.host[: math.prod(shape) * self.plan.dtype.itemsize]


def allocate(device: Device, plans: tuple[TensorPlan, ...]) -> dict[str, Buffer]:
    """A buffer for each tensor. The device's context must be active."""
    return dict(_buffers(device, plans))


def _buffers(device: Device, plans: tuple[TensorPlan, ...]) -> Iterator[tuple[str, Buffer]]:
    for plan in plans:
        host, address = device.allocate_host(plan.size_bytes)
        owner: Any = host
        if not device.shared_memory:
            owner, address = device.allocate_device(plan.size_bytes)
        if address == 0:
            raise EngineUnavailable(f"tensor {plan.name!r}: CUDA gave no address for {plan.size_bytes} bytes")
        yield plan.name, Buffer(plan=plan, host=host, address=address, owner=owner)
