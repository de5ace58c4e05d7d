"""The key of this device that wraps the keys of sealed engines. A file today; a TPM or token behind the same two calls.

``device_key`` is the one place that decides where the key lives. Rules: the file is ours alone (mode 0600, no link), is
made once, and is never replaced in silence: a device that lost its key builds its engines again, nothing more.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from appliance.errors import EngineRefused
from appliance.host.files import write_whole

KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_NAME: Final = "device.key"


class DeviceKey(Protocol):
    """Wraps and unwraps file keys. What is inside never leaves."""

    def wrap(self, key: bytes, context: bytes) -> bytes:
        """``key`` so that only this device can unwrap it, bound to ``context``."""

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """The key again. Raises ``EngineRefused`` (``engine-key``) where another device or context wrapped it."""


def device_key(folder: Path) -> DeviceKey:
    """The key of this device, made at the first call. Raises ``EngineRefused`` (``engine-key``) where it is unsafe."""
    path = folder / _NAME
    try:
        return _FileKey(_read(path))
    except FileNotFoundError:
        write_whole(path, AESGCM.generate_key(8 * KEY_BYTES), mode=0o600)
        return _FileKey(_read(path))


def _read(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as e:
        raise EngineRefused("engine-key", f"{path}: expected a file of this device; found: {e.strerror}") from e
    with os.fdopen(descriptor, "rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        raw = file.read(KEY_BYTES + 1)
    if not stat.S_ISREG(mode) or mode & 0o077:
        raise EngineRefused("engine-key", f"{path}: expected a file of mode 0600; found {stat.filemode(mode)}")
    if len(raw) != KEY_BYTES:
        raise EngineRefused("engine-key", f"{path}: expected {KEY_BYTES} bytes; found {len(raw)}")
    return raw


class _FileKey:
    """AES-256-GCM with a random nonce; a device wraps a few keys a month, far from the bound of 2³² a key."""

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)

    def wrap(self, key: bytes, context: bytes) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, key, context)

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        try:
            return self._aead.decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], context)
        except (InvalidTag, ValueError) as e:
            raise EngineRefused(
                "engine-key", "the engine was sealed by another device, or its header was changed"
            ) from e
