"""What each audience may see of a result.

What this is: a pure projection from a result as the path tells it to a result as one view gets it. What it is not: it
seals nothing and knows no recipient; the publisher seals each view to its own audience's secret.

Rules:

- A view is an allow-list: its body is read field by field out of the full one, so that a field added later is in no
  view but ``full`` until somebody puts it there.
- What a view has no body for it does not get. ``position-only`` gets entities, as where they are, how they move and
  what kind of thing they are; no alert, picture or status, because those hold what people wrote and what is disputed.
- A view's results stand on topics of their own, so that a broker can be told who needs which.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from appliance.pipeline.bodies import Body, EntityPositionBody, PositionBody, Status, VelocityBody
from appliance.pipeline.results import Result

View = Literal["full", "position-only"]
#: In the order of their audience numbers.
VIEWS: Final[tuple[View, ...]] = ("full", "position-only")
_encoder: Final = msgspec.json.Encoder(order="deterministic")


class _EntityFields(Body, frozen=True, kw_only=True):
    """The fields of an entity that ``position-only`` is given; every other one is skipped unread."""

    schema: Literal["edge/entity/1"]
    unit: str
    entity_id: str
    time: str
    produced: str
    status: Status
    category: str
    position: PositionBody
    velocity_mps: VelocityBody


_entity_fields: Final = msgspec.json.Decoder(_EntityFields)


def seen_by(view: View, result: Result) -> Result | None:
    """``result`` as ``view`` gets it; None where there is nothing of it for that view."""
    if view == "full":
        return result
    if result.priority != "entity":
        return None
    try:
        entity = _entity_fields.decode(result.payload)
    except msgspec.DecodeError:  # another body than an entity's: what has no projection is not shown
        return None
    body = EntityPositionBody(
        unit=entity.unit,
        entity_id=entity.entity_id,
        time=entity.time,
        produced=entity.produced,
        status=entity.status,
        category=entity.category,
        position=entity.position,
        velocity_mps=entity.velocity_mps,
    )
    topic = f"edge/v1/{entity.unit}/position/{entity.entity_id}"
    return Result(topic=topic, priority=result.priority, payload=_encoder.encode(body))
