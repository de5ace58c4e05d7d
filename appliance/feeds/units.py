"""What sailors and airmen measure in, in ours."""

from __future__ import annotations

from typing import Final

NAUTICAL_MILE_M: Final = 1852.0
KNOT_MPS: Final = NAUTICAL_MILE_M / 3600.0
FOOT_M: Final = 0.3048
