"""Reports in four languages, to claims, by rules that can be read aloud; `docs/reading.md` says what is understood."""

from __future__ import annotations

from appliance.reading.read import MAX_CLAIMS, read

__all__ = ["MAX_CLAIMS", "read"]
