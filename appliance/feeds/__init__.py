"""The doors by which the world comes in: cameras, AIS, ADS-B, radar, GNSS, plots and people's reports.

A ``Feed`` is supervised: one thread, a bounded queue, restart with back-off, counters. ``open_feed`` builds one from a
``FeedSpec``; an absent camera or receiver is not an error of opening, the feed itself tries again. Everything that
leaves a feed is a noun of ``appliance.domain``; what does not parse is counted and dropped.
"""

from appliance.feeds.spec import (
    KINDS,
    FeedKind,
    FeedSpec,
    FeedStatus,
    Item,
    PictureOptions,
    ReportOptions,
    SensorSigma,
    VideoOptions,
)
from appliance.feeds.supervisor import Feed
from appliance.feeds.table import open_feed
from appliance.feeds.uris import SCHEMES, FeedUri, parse_uri

__all__ = [
    "KINDS",
    "SCHEMES",
    "Feed",
    "FeedKind",
    "FeedSpec",
    "FeedStatus",
    "FeedUri",
    "Item",
    "PictureOptions",
    "ReportOptions",
    "SensorSigma",
    "VideoOptions",
    "open_feed",
    "parse_uri",
]
