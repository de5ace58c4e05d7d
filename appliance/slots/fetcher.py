"""python-tuf's way to a stick: it asks for URLs, this answers from ``Media`` by exact name.

Metadata is held to its one canonical form here, before python-tuf reads it. Payloads do not pass here: they are
streamed and hashed by ``verify``, once, while they are copied.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import IO

from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient.fetcher import FetcherInterface

from appliance.bundles.layout import METADATA
from appliance.bundles.metadata import parse_strict
from appliance.errors import BundleRefused
from appliance.slots.media import Media

_NOT_FOUND = 404  # what python-tuf expects where there is no such file: for a root it means "no newer one"


class MediaFetcher(FetcherInterface):
    """Answers from a stick; ``asked`` is the name asked for last, so that a refusal can say where it arose."""

    def __init__(self, media: Media) -> None:
        self._media = media
        self.asked = ""

    def download_bytes(self, url: str, max_length: int) -> bytes:
        """One whole file.

        Raises: DownloadHTTPError(404) where it is not there; BundleRefused: "too-long", "metadata", "scheme",
        "media-read".
        """
        self.asked = url
        data = b"".join(read_bounded(self._media, url, max_length))
        if url.startswith(METADATA + "/"):
            parse_strict(url.rsplit("/", 1)[-1], data)
        return data

    @contextmanager
    def download_file(self, url: str, max_length: int) -> Iterator[IO[bytes]]:
        """As ``download_bytes``, as a file: small files only, no temporary file."""
        yield BytesIO(self.download_bytes(url, max_length))

    def _fetch(self, url: str) -> Iterator[bytes]:
        self.asked = url
        if url not in self._media.sizes:
            raise DownloadHTTPError(f"{url} is not on the stick", _NOT_FOUND)
        return self._media.chunks(url)


def read_bounded(media: Media, name: str, max_length: int) -> Iterator[bytes]:
    """A file's content in pieces, never more than ``max_length`` bytes.

    Raises: DownloadHTTPError(404) where it is not there; BundleRefused: "too-long", "media-read".
    """
    size = media.sizes.get(name)
    if size is None:
        raise DownloadHTTPError(f"{name} is not on the stick", _NOT_FOUND)
    if size > max_length:
        raise BundleRefused("too-long", f"{name}: at most {max_length} bytes; found {size}")
    total = 0
    for chunk in media.chunks(name):
        total += len(chunk)
        if total > max_length:
            raise BundleRefused("too-long", f"{name}: grew beyond {max_length} bytes while it was read")
        yield chunk
