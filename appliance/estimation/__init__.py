"""Arithmetic of estimation: Gaussian states, interacting models, gating, assignment, fields of view. Arrays only.

Not here: plots, entities, identities, evidence, or when a track is believed: those are decisions of ``fusion``.

Rules: local metres and seconds; every covariance that leaves a function is symmetric and positive definite; the heavy
functions are compiled (see ``compiled.py``) and work in place on arrays that the caller owns.
"""

from __future__ import annotations

from appliance.estimation.fov import FieldOfView, Sector

__all__ = ["FieldOfView", "Sector"]
