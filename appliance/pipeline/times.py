"""Times as results tell them: RFC 3339 in UTC with nine decimals, so that no nanosecond is lost."""

from __future__ import annotations

import datetime as dt
from typing import Final

_NS_PER_S: Final = 1_000_000_000


def time_text(time_ns: int) -> str:
    """Nanoseconds since 1970 → text."""
    seconds, nanos = divmod(time_ns, _NS_PER_S)
    whole = dt.datetime.fromtimestamp(seconds, tz=dt.UTC)
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{nanos:09d}Z"


def time_ns(text: str) -> int:
    """Text as ``time_text`` makes it → nanoseconds since 1970, exact. Raises ValueError for other text."""
    whole = dt.datetime.fromisoformat(text[:19]).replace(tzinfo=dt.UTC)
    return int(whole.timestamp()) * _NS_PER_S + int(text[20:29])
