"""Golden inputs and outputs of a network, made at the desk: pictures in, what ONNX Runtime answers out.

Pictures are prepared exactly as the device prepares frames. Where nobody gives any, two are drawn by a seeded
generator, so that the same network and manifest give the same inputs everywhere; real pictures of the domain test
more, because drawn ones leave most scores near zero. The tolerances follow from the outputs' own magnitude and from
what the graph does; ``docs/bundles.md`` has the table and its reasons.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from appliance.bundles.golden import (
    GOLDEN_DATA_FILE,
    GOLDEN_FILE,
    MAX_DATA_BYTES,
    Case,
    DType,
    Golden,
    Tensor,
    Tolerance,
    Tolerances,
    aligned,
    encode_golden,
    parse_golden,
)
from appliance.bundles.manifest import MAX_MANIFEST_BYTES, FixedSize, Manifest, output_names, parse_manifest
from appliance.bundles.network import MAX_MODEL_BYTES, look_into
from appliance.bundles.release import Role
from appliance.errors import UsageError
from appliance.host.files import read_at_most
from appliance.inference.prepare import Preparer, lay_out, require_picture
from appliance.inference.runner import Runner, open_runner

Array = npt.NDArray[Any]

#: Side of a drawn picture where the network takes any, before rounding to its multiple.
DRAWN_SIDE_PX: Final = 320
SEED: Final = 20_260_101
#: Below this an output is noise round zero, and a share of it would be nothing.
LEAST_MAGNITUDE: Final = 1e-3

#: Operators that choose among elements: two nearly equal scores may change places on another processor.
CHOOSING: Final = ("TopK", "NonMaxSuppression", "ArgMax", "ArgMin", "NonZero")
#: Operators that round to steps: a sum on the edge of a step falls to either side.
STEPPING: Final = ("QuantizeLinear", "QLinear", "ConvInteger", "MatMulInteger", "QGemm", "DynamicQuantize")


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A tolerance before the output's magnitude is known: ``absolute`` and ``relative`` are shares of it."""

    absolute: float
    relative: float
    outliers: float


#: What ONNX Runtime on another processor is allowed, and what an engine: plain graphs, and graphs that step.
RUNTIME: Final = {
    False: Share(absolute=1e-4, relative=1e-3, outliers=0.0),
    True: Share(absolute=0.02, relative=0.02, outliers=0.01),
}
ENGINE: Final = {
    False: Share(absolute=0.02, relative=0.02, outliers=0.001),
    True: Share(absolute=0.05, relative=0.05, outliers=0.02),
}
#: Where the graph chooses among elements, so many may stand elsewhere.
CHOSEN_OUTLIERS: Final = {"runtime": 0.02, "engine": 0.05}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a person says about golden files: given ones, pictures to make them from, or none; else they are made."""

    given: Path | None = None
    pictures: tuple[Path, ...] = ()
    none: bool = False


AUTOMATIC: Final = Choice()


def files(
    choice: Choice, model: Path, manifest: Path, work: Path, say: Callable[[str], None]
) -> dict[str, tuple[Role, Path]]:
    """The golden files for a release, by name in the bundle; made in the folder ``work`` where they are not given.

    Raises: UsageError, BundleRefused, EngineUnavailable where there is no ONNX Runtime to make them with.
    """
    if choice.none:
        say("no golden outputs: the device will only ask whether the network loads and answers")
        return {}
    if choice.given is not None:
        page, data = choice.given, choice.given.with_name(GOLDEN_DATA_FILE)
        parse_golden(_read(page, MAX_DATA_BYTES), model_sha384=_digest(model), manifest=_manifest(manifest))
    else:
        made = make(model, manifest, work, pictures=choice.pictures)
        say(f"golden outputs of {len(made.cases)} cases, {made.data_bytes} bytes, made by {made.made_by}")
        page, data = work / GOLDEN_FILE, work / GOLDEN_DATA_FILE
    return {GOLDEN_FILE: ("golden", page), GOLDEN_DATA_FILE: ("golden", data)}


def make(model: Path, manifest: Path, out: Path, *, pictures: tuple[Path, ...] = ()) -> Golden:
    """Writes ``golden.json`` and ``golden.bin`` into ``out``; returns the page.

    Raises: UsageError for a picture that cannot be read; BundleRefused where network and manifest do not fit;
    EngineUnavailable where the network does not run here.
    """
    page = _manifest(manifest)
    raw = _read(model, MAX_MODEL_BYTES)
    runner = open_runner(raw, page)
    data = bytearray()
    cases: list[Case] = []
    magnitudes: dict[str, float] = {}
    for name, source, picture in _pictures(page, pictures):
        case, largest = _case(name, source, _prepared(page, picture), page, runner, data)
        cases.append(case)
        magnitudes = {key: max(value, magnitudes.get(key, 0.0)) for key, value in largest.items()}
    golden = Golden(
        schema="edge-golden/1",
        model_sha384=hashlib.sha384(raw).hexdigest(),
        data_sha384=hashlib.sha384(data).hexdigest(),
        data_bytes=len(data),
        made_by=runner.provider,
        tolerances=_tolerances(raw, cases[0], magnitudes),
        cases=tuple(cases),
    )
    encoded = encode_golden(golden)
    parse_golden(encoded, model_sha384=golden.model_sha384, manifest=page)
    out.mkdir(parents=True, exist_ok=True)
    (out / GOLDEN_DATA_FILE).write_bytes(data)
    (out / GOLDEN_FILE).write_bytes(encoded)
    return golden


def _case(
    name: str, source: str, batch: Array, page: Manifest, runner: Runner, data: bytearray
) -> tuple[Case, dict[str, float]]:
    """Runs one case and puts its numbers at the end of ``data``; also gives each output's magnitude."""
    fed = {page.input.name: batch} | {
        constant.name: np.asarray([constant.values], dtype=constant.dtype) for constant in page.input.constants
    }
    inputs = tuple(_put(key, value, data) for key, value in fed.items())
    answer = runner.run(batch)
    outputs = tuple(_put(key, answer[key], data) for key in output_names(page.decoder))
    return Case(name=name, source=source, inputs=inputs, outputs=outputs), {
        key: float(np.abs(np.asarray(value, np.float64)).max(initial=0.0)) for key, value in answer.items()
    }


def _put(name: str, value: Array, data: bytearray) -> Tensor:
    data.extend(bytes(aligned(len(data)) - len(data)))
    dtype: DType = str(value.dtype)  # type: ignore[assignment]  # one that is not known is refused when it is read back
    raw = np.ascontiguousarray(value).astype(value.dtype.newbyteorder("<")).tobytes()
    tensor = Tensor(name=name, dtype=dtype, shape=value.shape, offset=len(data), length=len(raw))
    data.extend(raw)
    if len(data) > MAX_DATA_BYTES:
        raise UsageError(f"golden outputs: expected at most {MAX_DATA_BYTES} bytes; take fewer pictures")
    return tensor


def _tolerances(raw: bytes, case: Case, magnitudes: Mapping[str, float]) -> dict[str, Tolerances]:
    operators = {name for _, name in look_into(raw).operators}
    steps = any(name.startswith(STEPPING) for name in operators)
    chooses = not operators.isdisjoint(CHOOSING)
    types = {tensor.name: tensor.dtype for tensor in case.outputs}
    return {
        name: Tolerances(
            tolerance=_allowed(RUNTIME[steps], size, types[name], CHOSEN_OUTLIERS["runtime"] if chooses else 0.0),
            engine_tolerance=_allowed(ENGINE[steps], size, types[name], CHOSEN_OUTLIERS["engine"] if chooses else 0.0),
        )
        for name, size in magnitudes.items()
        if name in types
    }


def _allowed(share: Share, magnitude: float, dtype: DType, chosen: float) -> Tolerance:
    outliers = max(share.outliers, chosen)
    if not dtype.startswith("float"):
        return Tolerance(absolute=0.0, outliers=outliers)  # an index or a count is right or wrong
    absolute = share.absolute * max(magnitude, LEAST_MAGNITUDE)
    return Tolerance(absolute=float(f"{absolute:.3g}"), relative=share.relative, outliers=outliers)


def _pictures(page: Manifest, paths: tuple[Path, ...]) -> Iterator[tuple[str, str, Array]]:
    """Name, source and BGR bytes of each picture; two drawn ones where no paths are given."""
    for number, path in enumerate(paths):
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if picture is None:
            raise UsageError(f"{path}: expected a picture that can be read")
        yield f"picture-{number}", path.name[:256], picture
    if not paths:
        height, width = _side(page)
        yield "noise", f"uniform noise, PCG64 seed {SEED}", noise(height, width)
        yield "blocks", f"blocks on a ramp, PCG64 seed {SEED}", blocks(height, width)


def _side(page: Manifest) -> tuple[int, int]:
    size = page.input.size
    if isinstance(size, FixedSize):
        return size.height_px, size.width_px
    side = max(1, DRAWN_SIDE_PX // size.multiple_px) * size.multiple_px
    return min(side, size.max_height_px), min(side, size.max_width_px)


def noise(height: int, width: int) -> Array:
    """(height, width, 3) uint8: every pixel drawn alone."""
    return np.random.default_rng(SEED).integers(0, 256, (height, width, 3), np.uint8)


def blocks(height: int, width: int) -> Array:
    """(height, width, 3) uint8: two dozen blocks of one colour on a diagonal ramp: things with edges and insides."""
    rng = np.random.default_rng(SEED + 1)
    ramp = (np.add.outer(np.arange(height), np.arange(width)) * 255 // max(height + width - 2, 1)).astype(np.uint8)
    picture = np.repeat(ramp[:, :, None], 3, axis=2)
    for _ in range(24):
        top, left = int(rng.integers(0, height)), int(rng.integers(0, width))
        bottom, right = top + int(rng.integers(1, height // 3 + 2)), left + int(rng.integers(1, width // 3 + 2))
        picture[top:bottom, left:right] = rng.integers(0, 256, 3, np.uint8)
    return picture


def _prepared(page: Manifest, picture: Array) -> Array:
    require_picture(picture)
    geometry = lay_out(page.input, picture.shape[0], picture.shape[1])
    return Preparer(page.input, 1).prepare([picture], [geometry]).copy()


def _manifest(path: Path) -> Manifest:
    return parse_manifest(_read(path, MAX_MANIFEST_BYTES))


def _digest(path: Path) -> str:
    return hashlib.sha384(_read(path, MAX_MODEL_BYTES)).hexdigest()


def _read(path: Path, most: int) -> bytes:
    try:
        return read_at_most(path, most)
    except OSError as e:
        raise UsageError(f"{path}: no such file, or not to be read: {e.strerror}") from e
