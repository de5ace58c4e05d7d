"""What stands behind everything: sky, far coast, water with moving waves, and the quay's concrete.

Drawn once for a scene and a lens; per picture only the waves move. Shares the drawing helpers with ``paint``.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from appliance.domain import Pixels
from hil.scene.lens import Lens, Points, project_polygon, rays
from hil.scene.world import Light, Scene

SHIFT = 4
"""Fractional bits of polygon corners, so that slow things move smoothly."""

_WAVE_SIZE = 512
_FAR_M = 6000.0
_WAVE_SCALES = (6.0, 2.6)
"""Samples per metre of the two wave fields that are laid over one another."""


class Backdrop:
    """Sky, sea and quay: drawn once, then only the waves move."""

    def __init__(self, scene: Scene, lens: Lens) -> None:
        dice = np.random.default_rng([scene.seed & 0xFFFFFFFF, 7])
        light = scene.light
        self.horizon = np.array([214.0, 208.0, 198.0]) * light.brightness * warm(light)
        directions = rays(lens)
        down = directions[..., 2] < -1e-4
        reach = np.where(down, -lens.up_m / np.where(down, directions[..., 2], -1.0), _FAR_M)
        reach = np.minimum(reach, _FAR_M)
        east, north = lens.east_m + directions[..., 0] * reach, lens.north_m + directions[..., 1] * reach
        self._wet = down & ~_quay_mask(scene, lens)
        still = self._sky(directions, light, dice)
        still = np.where(down[..., None], self._sea(directions, reach, light), still)
        still = np.where((down & ~self._wet)[..., None], _apron(east, north, reach, light, dice), still)
        self._still = cv2.GaussianBlur(np.clip(still, 0.0, 255.0).astype(np.float32), (3, 3), 0.6)
        self._dry: Pixels = np.clip(self._still, 0.0, 255.0).astype(np.uint8)
        wet_rows = np.flatnonzero(self._wet.any(axis=1))
        self._top = int(wet_rows[0]) if len(wet_rows) else lens.height_px - 1
        self._samples = {scale: _sample_map(east[self._top :], north[self._top :], scale) for scale in _WAVE_SCALES}
        # Waves fade where one pixel covers more than a wave, else they boil.
        fade = np.clip(9.0 / np.maximum(reach, 1.0), 0.012, 0.085) * light.chop
        self._fade = np.where(self._wet, fade, 0.0).astype(np.float32)
        self._waves = _wave_field(dice)
        glint = np.exp(
            -((_turned(np.arctan2(directions[..., 0], directions[..., 1]), light.sun_azimuth_rad) / 0.35) ** 2)
        )
        self._glint = np.where(self._wet, glint * 120.0 * light.brightness, 0.0).astype(np.float32)

    def at(self, time_s: float) -> Pixels:
        """(height, width, 3) uint8: everything but the solids."""
        one = self._sampled(_WAVE_SCALES[0], 5.0 * time_s, 3.0 * time_s)
        two = self._sampled(_WAVE_SCALES[1], -4.0 * time_s, 6.0 * time_s)
        chop = (one + two) * self._fade[self._top :]
        gain, glint = 1.0 + chop, np.maximum(chop - 0.05, 0.0) * self._glint[self._top :]
        lit = cv2.multiply(self._still[self._top :], cv2.merge([gain, gain, gain]))
        picture = self._dry.copy()
        picture[self._top :] = cv2.add(lit, cv2.merge([glint, glint, glint]), dtype=cv2.CV_8U)
        return picture

    def _sampled(self, scale: float, shift_e: float, shift_n: float) -> npt.NDArray[np.float32]:
        x, y = self._samples[scale]
        shifted_x, shifted_y = x + np.float32(shift_e % _WAVE_SIZE), y + np.float32(shift_n % _WAVE_SIZE)
        field = cv2.remap(self._waves, shifted_x, shifted_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
        return np.asarray(field, dtype=np.float32)

    def _sky(self, directions: Points, light: Light, dice: np.random.Generator) -> Points:
        height = np.clip(directions[..., 2] / 0.45, 0.0, 1.0)[..., None]
        zenith = np.array([205.0, 158.0, 112.0]) * light.brightness
        sky = self.horizon * (1.0 - height) + zenith * height
        cloud = cv2.resize(
            dice.random((9, 14)).astype(np.float32), directions.shape[1::-1], interpolation=cv2.INTER_CUBIC
        )
        lumps = cv2.resize(
            dice.random((28, 40)).astype(np.float32), directions.shape[1::-1], interpolation=cv2.INTER_CUBIC
        )
        cover = np.clip((0.7 * cloud + 0.3 * lumps - 0.45) * 2.2, 0.0, 0.75)[..., None]
        sky = sky * (1.0 - cover) + np.array([238.0, 238.0, 238.0]) * light.brightness * cover
        bearing = np.arctan2(directions[..., 0], directions[..., 1])
        ridge = (
            0.010
            + 0.006 * np.sin(bearing * 9.0 + dice.uniform(0, 6))
            + 0.004 * np.sin(bearing * 31.0 + dice.uniform(0, 6))
        )
        coast = (directions[..., 2] >= 0.0) & (directions[..., 2] < ridge)
        land = self.horizon * 0.72 + np.array([16.0, 22.0, 12.0])
        hills: Points = np.where(coast[..., None], land, sky)
        return hills

    def _sea(self, directions: Points, reach: npt.NDArray[np.float64], light: Light) -> Points:
        deep = np.array([104.0, 88.0, 58.0]) * light.brightness * warm(light)
        grazing = np.exp(directions[..., 2] * 5.0)[..., None]
        sea = deep * (1.0 - 0.62 * grazing) + self.horizon * 0.62 * grazing
        veil = (1.0 - np.exp(-reach / light.haze_m))[..., None] * 0.75
        veiled: Points = sea * (1.0 - veil) + self.horizon * veil
        return veiled


def _sample_map(east: Points, north: Points, scale: float) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Where on the wave tile each pixel looks, held small: OpenCV samples within 16 bits."""
    return (
        np.mod(east * scale, _WAVE_SIZE).astype(np.float32),
        np.mod(north * scale, _WAVE_SIZE).astype(np.float32),
    )


def _quay_mask(scene: Scene, lens: Lens) -> npt.NDArray[np.bool_]:
    mask = np.zeros((lens.height_px, lens.width_px), dtype=np.uint8)
    corners = np.array([(e, n, 0.0) for e, n in scene.quay]).reshape(-1, 3)
    outline = project_polygon(lens, corners) if len(corners) else corners
    if len(outline) >= 3:
        cv2.fillPoly(mask, [fixed(outline)], (1.0,), cv2.LINE_8, SHIFT)
    return mask.astype(np.bool_)


def _apron(east: Points, north: Points, reach: Points, light: Light, dice: np.random.Generator) -> Points:
    """Concrete in slabs, with stains, paler with distance."""
    stains = cv2.resize(
        dice.random((64, 64)).astype(np.float32), (_WAVE_SIZE, _WAVE_SIZE), interpolation=cv2.INTER_CUBIC
    )
    x, y = np.mod(east * 7.0, _WAVE_SIZE).astype(np.float32), np.mod(north * 7.0, _WAVE_SIZE).astype(np.float32)
    tone = 128.0 + 34.0 * (cv2.remap(stains, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP) - 0.5)
    joint = (np.mod(east, 6.0) < 0.18) | (np.mod(north, 6.0) < 0.18)
    tone = tone - np.where(joint, 22.0, 0.0) * np.clip(90.0 / np.maximum(reach, 1.0), 0.0, 1.0)
    concrete: Points = tone[..., None] * np.array([0.96, 1.0, 1.02]) * light.brightness * warm(light)
    return concrete


def _wave_field(dice: np.random.Generator) -> npt.NDArray[np.float32]:
    """A tile of waves, mean zero, spread one, that joins itself at its edges: noise shaped in the frequency plane."""
    noise = np.fft.rfft2(dice.standard_normal((_WAVE_SIZE, _WAVE_SIZE)))
    fy = np.fft.fftfreq(_WAVE_SIZE)[:, None] * _WAVE_SIZE
    fx = np.fft.rfftfreq(_WAVE_SIZE)[None, :] * _WAVE_SIZE
    # Crests run across the wind: longer in one direction than in the other.
    wave_number = np.hypot(fx * 0.6, fy * 1.3)
    noise = noise * np.exp(-(((wave_number - 26.0) / 18.0) ** 2))
    tile = np.fft.irfft2(noise, s=(_WAVE_SIZE, _WAVE_SIZE))
    shaped: npt.NDArray[np.float32] = (tile / tile.std()).astype(np.float32)
    return shaped


def warm(light: Light) -> Points:
    """Factors for blue, green and red: a low sun warms."""
    return np.array([1.0 - 0.22 * light.warmth, 1.0 - 0.04 * light.warmth, 1.0 + 0.10 * light.warmth])


def fixed(outline: Points) -> npt.NDArray[np.int32]:
    """Pixels → the fixed-point corners that OpenCV draws from; far-off corners are held within its range."""
    return np.round(np.clip(outline, -20000.0, 20000.0) * (1 << SHIFT)).astype(np.int32)


def _turned(bearing: Points, towards_rad: float) -> Points:
    """Difference of bearings in -π..π."""
    return (bearing - towards_rad + math.pi) % (2.0 * math.pi) - math.pi
