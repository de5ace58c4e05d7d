"""Reading what units tell, from Python: the results that an identity may open, each once.

    async with listen("mqtts://10.0.0.2:8883", identity, units, state=Path("ops.sqlite"), tls=tls) as results:
        async for result in results:
            match result.body:
                case EntityBody() as entity:
                    ...

What this is: the reader's side for programs; `appliance listen` is built on it. What it is not: a client of MQTT (that
is ``bus``) or of the envelope (``sealing``). ``docs/reader.md`` has the guide, with an example that runs.
"""

from appliance.bus import TlsFiles
from appliance.listen.listener import EpochClosed, Event, Listener, NothingForUs
from appliance.listen.results import Body, Result, Unread
from appliance.listen.stream import Listening, listen
from appliance.pipeline.bodies import AlertBody, EntityBody, EntityPositionBody, PictureBody, StatusBody
from appliance.sealing import PrivateIdentity, PublicIdentity

__all__ = [
    "AlertBody",
    "Body",
    "EntityBody",
    "EntityPositionBody",
    "EpochClosed",
    "Event",
    "Listener",
    "Listening",
    "NothingForUs",
    "PictureBody",
    "PrivateIdentity",
    "PublicIdentity",
    "Result",
    "StatusBody",
    "TlsFiles",
    "Unread",
    "listen",
]
