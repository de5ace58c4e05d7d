"""python-tuf's errors in our words, once: ``with translated(fetcher): …``.

python-tuf says what is wrong with a file and not always which file; the fetcher knows what was asked for last.
"""

from __future__ import annotations

from typing import Final

from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    UnsignedMetadataError,
)

from appliance.bundles.layout import metadata_name
from appliance.errors import BundleRefused
from appliance.slots.fetcher import MediaFetcher

#: What python-tuf says, in our words. The first class that fits decides.
_MEANING: Final[tuple[tuple[type[Exception], str], ...]] = (
    (DownloadHTTPError, "missing"),
    (DownloadLengthMismatchError, "too-long"),
    (DownloadError, "media-read"),
    (UnsignedMetadataError, "signature"),
    (ExpiredMetadataError, "expired"),
    (LengthOrHashMismatchError, "digest"),
    (RepositoryError, "metadata"),
)


class translated:  # noqa: N801 - reads as a verb phrase in `with`
    """Turns python-tuf's errors into ours, naming the file that was asked for last."""

    def __init__(self, fetcher: MediaFetcher) -> None:
        self._fetcher = fetcher

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, RepositoryError | DownloadError):
            raise BundleRefused(_reason(error, self._fetcher.asked), f"{self._fetcher.asked}: {error}") from error


def _reason(error: RepositoryError | DownloadError, asked: str) -> str:
    """A version that does not fit means three things: a broken root chain, an old stick, or mixed files."""
    if isinstance(error, BadVersionNumberError):
        if asked.endswith(".root.json"):
            return "root-chain"
        return "rollback" if asked == metadata_name("timestamp", None) or "must be >=" in str(error) else "mixed"
    return next(reason for kind, reason in _MEANING if isinstance(error, kind))
