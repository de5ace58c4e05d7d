"""Writes MCAP whose size is the disk's business alone: no summary, so nothing is kept in memory for its end.

The library's own writer keeps an index entry for each chunk until the file is closed, a sixth of what is on the disk.
Readers that want the index make it from the chunks (mcap.dev, "Summary Section": it may be left out).
"""

from __future__ import annotations

import zlib
from typing import Any, BinaryIO, Final

import zstandard
from mcap.data_stream import RecordBuilder
from mcap.records import Channel, Chunk, DataEnd, Footer, Header, McapRecord, Message, Metadata, Schema

_MAGIC: Final = b"\x89MCAP0\r\n"


class ChunkWriter:
    """Messages into compressed chunks of some ``chunk_bytes`` each, before they are compressed."""

    def __init__(self, file: BinaryIO, *, library: str, chunk_bytes: int) -> None:
        self._file, self._chunk_bytes = file, chunk_bytes
        self._chunk: Any = RecordBuilder()
        self._times: list[int] = []
        self._channels = 0
        self._file.write(_MAGIC)
        self._put(Header(profile="", library=library))

    def metadata(self, name: str, entries: dict[str, str]) -> None:
        """Written at once, outside the chunks."""
        self._put(Metadata(name=name, metadata=entries))

    def schema(self, name: str, encoding: str, data: bytes) -> int:
        """The only schema; its number for `channel`."""
        self._into_chunk(Schema(id=1, name=name, encoding=encoding, data=data))
        return 1

    def channel(self, topic: str, encoding: str, schema: int) -> int:
        """A new channel; its number for `message`."""
        self._channels += 1
        channel = Channel(
            id=self._channels, topic=topic, message_encoding=encoding, schema_id=schema, metadata={}
        )  # fmt: skip
        self._into_chunk(channel)
        return self._channels

    def message(self, channel: int, time_ns: int, data: bytes) -> None:
        """Into the chunk, which is written when it is full."""
        self._times.append(time_ns)
        self._into_chunk(
            Message(channel_id=channel, log_time=time_ns, publish_time=time_ns, sequence=0, data=data)
        )  # fmt: skip
        if self._chunk.count > self._chunk_bytes:
            self._end_chunk()

    def finish(self) -> None:
        """The last chunk and the end mark; the file stays open."""
        self._end_chunk()
        self._put(DataEnd(data_section_crc=0))
        self._put(Footer(summary_start=0, summary_offset_start=0, summary_crc=0))
        self._file.write(_MAGIC)

    def _into_chunk(self, record: McapRecord) -> None:
        record.write(self._chunk)

    def _end_chunk(self) -> None:
        raw = self._chunk.end()
        if not raw:
            return
        chunk = Chunk(
            compression="zstd",
            data=zstandard.compress(raw),
            message_start_time=min(self._times, default=0),
            message_end_time=max(self._times, default=0),
            uncompressed_crc=zlib.crc32(raw),
            uncompressed_size=len(raw),
        )
        self._times.clear()
        self._put(chunk)

    def _put(self, record: McapRecord) -> None:
        builder: Any = RecordBuilder()
        record.write(builder)
        self._file.write(builder.end())
