"""The parts of a model's manifest: how a frame becomes a tensor, what the outputs mean, what is reported.

These are shapes of data with their bounds, no more: `manifest` puts them together, reads them and checks them against
each other. Lengths are network pixels unless a name says otherwise. Unknown keys are refused in every part.

    ImageInput (FixedSize | DynamicSize, Constant)
    Decoder = Yolox | NanoDet | Detr | Ssd (Priors) | Yunet
    CategoryMap, Thresholds, Calibration
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from appliance.domain import UNKNOWN

MAX_LABELS: Final = 4096
MAX_SIDE_PX: Final = 8192

TensorName = Annotated[str, Meta(min_length=1, max_length=256)]
TensorNames = Annotated[tuple[TensorName, ...], Meta(min_length=1, max_length=8)]
Label = Annotated[str, Meta(min_length=1, max_length=128)]
Side = Annotated[int, Meta(ge=8, le=MAX_SIDE_PX)]
Stride = Annotated[int, Meta(ge=1, le=512)]
Strides = Annotated[tuple[Stride, ...], Meta(min_length=1, max_length=8)]
Unit = Annotated[float, Meta(ge=0.0, le=1.0)]
Finite = Annotated[float, Meta(ge=-1e9, le=1e9)]
Positive = Annotated[float, Meta(gt=0.0, le=1e6)]

BoxFormat = Literal["xyxy", "yxyx", "cxcywh"]
BoxUnit = Literal["pixel", "normalised"]
ScoreKind = Literal["probability", "sigmoid", "softmax"]


class Part(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all parts of a manifest have in common."""


class FixedSize(Part, frozen=True, tag="fixed", tag_field="kind"):
    """The network takes pictures of exactly this size."""

    width_px: Side
    height_px: Side


class DynamicSize(Part, frozen=True, tag="multiple", tag_field="kind"):
    """The network takes any size whose sides are multiples of ``multiple_px``, up to the maxima.

    A frame that is larger is scaled down to fit; a smaller one is never scaled up. Both are padded to the multiple.
    """

    multiple_px: Annotated[int, Meta(ge=1, le=1024)]
    max_width_px: Side
    max_height_px: Side


class Constant(Part, frozen=True):
    """One more input that is the same for every picture, such as an image size that an export asks for.

    It is fed with the shape (batch, len(values)).
    """

    name: TensorName
    dtype: Literal["float32", "int64", "int32"]
    values: Annotated[tuple[Finite, ...], Meta(min_length=1, max_length=16)]


class ImageInput(Part, frozen=True):
    """How a frame becomes the input tensor: fit, pad, reorder colours, then ``(pixel × scale − mean) / std``.

    ``mean`` and ``std`` are in the network's colour order and have one value per channel, or one for all.
    ``pad`` is a pixel value, put down before normalisation. ``letterbox`` keeps the aspect ratio; ``stretch`` does not.
    """

    name: TensorName
    size: FixedSize | DynamicSize
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    dtype: Literal["uint8", "float32", "float16"] = "float32"
    colour: Literal["BGR", "RGB", "GRAY"] = "BGR"
    scale: Positive = 1.0
    mean: Annotated[tuple[Finite, ...], Meta(min_length=1, max_length=3)] = (0.0,)
    std: Annotated[tuple[Positive, ...], Meta(min_length=1, max_length=3)] = (1.0,)
    fit: Literal["letterbox", "stretch"] = "letterbox"
    align: Literal["top-left", "centre"] = "top-left"
    pad: Annotated[int, Meta(ge=0, le=255)] = 114
    constants: Annotated[tuple[Constant, ...], Meta(max_length=4)] = ()


class Yolox(Part, frozen=True, tag="yolox", tag_field="kind"):
    """One output (batch, anchors, 5 + labels): centre, log size, objectness, classes (YOLOX, arXiv 2107.08430).

    ``decoded`` is true where the export has already applied grid offsets and strides; ``score_kind`` says whether
    objectness and classes still need a sigmoid. A score is objectness × class.
    """

    output: TensorName
    strides: Strides = (8, 16, 32)
    decoded: bool = False
    score_kind: Literal["probability", "sigmoid"] = "probability"


class NanoDet(Part, frozen=True, tag="nanodet", tag_field="kind"):
    """Anchor-free with distances as distributions (Generalized Focal Loss, Li et al. 2020, arXiv 2006.04388).

    Either one concatenated ``output`` (batch, points, labels + 4 × (reg_max + 1)), or per stride a class and a distance
    output. ``cell_offset`` is where in its cell a point stands: 0 for NanoDet-Plus, 0.5 for NanoDet.
    """

    output: TensorName | None = None
    class_outputs: TensorNames | None = None
    distance_outputs: TensorNames | None = None
    strides: Strides = (8, 16, 32, 64)
    reg_max: Annotated[int, Meta(ge=1, le=64)] = 7
    cell_offset: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.0
    score_kind: Literal["probability", "sigmoid"] = "probability"


class Detr(Part, frozen=True, tag="detr", tag_field="kind"):
    """A set of boxes (batch, queries, 4) with scores (Carion et al. 2020, arXiv 2005.12872, and its successors).

    With ``labels`` the scores are (batch, queries) and the labels are class indices; without, the scores are
    (batch, queries, classes). ``background`` is the class index that means *nothing*: it is no label.
    """

    boxes: TensorName
    scores: TensorName
    labels: TensorName | None = None
    box_format: BoxFormat = "cxcywh"
    box_unit: BoxUnit = "normalised"
    score_kind: ScoreKind = "probability"
    background: Annotated[int, Meta(ge=0, le=MAX_LABELS)] | None = None


class PriorLevel(Part, frozen=True):
    """The priors of one feature map: at each cell's centre one box of each size, in this order."""

    stride_px: Stride
    sizes_px: Annotated[tuple[tuple[Positive, Positive], ...], Meta(min_length=1, max_length=32)]


class Priors(Part, frozen=True):
    """Boxes are offsets from these: centre by ``variances[0]``, log size by ``variances[1]`` (arXiv 1512.02325)."""

    levels: Annotated[tuple[PriorLevel, ...], Meta(min_length=1, max_length=8)]
    variances: tuple[Positive, Positive] = (0.1, 0.2)


class Ssd(Part, frozen=True, tag="ssd", tag_field="kind"):
    """Boxes (batch, n, 4) and scores (batch, n[, classes]), decoded in the graph or to be decoded from ``priors``.

    ``count`` names an output (batch[, 1]) that says how many of the n rows are filled, where the graph ends in an NMS.
    """

    boxes: TensorName
    scores: TensorName
    labels: TensorName | None = None
    count: TensorName | None = None
    box_format: BoxFormat = "xyxy"
    box_unit: BoxUnit = "normalised"
    score_kind: ScoreKind = "probability"
    background: Annotated[int, Meta(ge=0, le=MAX_LABELS)] | None = None
    priors: Priors | None = None


class Yunet(Part, frozen=True, tag="yunet", tag_field="kind"):
    """Per stride a class, an objectness and a box output (Wu et al. 2023, doi 10.1007/s11633-023-1423-y).

    A score is √(class × objectness). Key points are not read: a detection has no place for them.
    """

    class_outputs: TensorNames
    objectness_outputs: TensorNames
    box_outputs: TensorNames
    strides: Strides = (8, 16, 32)


Decoder = Yolox | NanoDet | Detr | Ssd | Yunet


class CategoryMap(Part, frozen=True):
    """From the model's labels to the category tree. A label that is not named takes ``default``.

    ``default`` null means that labels not named here are looked at and never reported.
    """

    labels: dict[str, str]
    default: str | None = UNKNOWN


class Thresholds(Part, frozen=True):
    """What is reported. Scores are compared after calibration.

    ``nms_iou`` null switches non-maximum suppression off (DETR needs none). ``labels_per_box``: ``best`` gives each box
    its best label alone; ``all`` gives one detection for each label above the threshold.
    """

    score: Unit
    per_label: dict[str, Unit] = {}
    nms_iou: Unit | None = 0.45
    nms_scope: Literal["per-label", "all"] = "per-label"
    labels_per_box: Literal["best", "all"] = "best"
    max_candidates: Annotated[int, Meta(ge=1, le=20_000)] = 2000
    max_detections: Annotated[int, Meta(ge=1, le=2000)] = 200


class Calibration(Part, frozen=True):
    """Temperature scaling: confidence = sigmoid(logit(score) / temperature) (Guo et al. 2017, arXiv 1706.04599)."""

    temperature: Annotated[float, Meta(gt=0.0, le=100.0)] = 1.0


def largest_input(size: FixedSize | DynamicSize) -> tuple[int, int]:
    """The largest (height, width) in pixels that the network is ever given."""
    if isinstance(size, FixedSize):
        return size.height_px, size.width_px
    return size.max_height_px, size.max_width_px


def channels(colour: Literal["BGR", "RGB", "GRAY"]) -> int:
    """How many channels the input tensor has."""
    return 1 if colour == "GRAY" else 3


def output_names(decoder: Decoder) -> tuple[str, ...]:
    """The outputs that are read, in a fixed order; the network may have others, which are never computed for us."""
    match decoder:
        case Yolox():
            return (decoder.output,)
        case NanoDet():
            if decoder.output is not None:
                return (decoder.output,)
            return (*(decoder.class_outputs or ()), *(decoder.distance_outputs or ()))
        case Yunet():
            return (*decoder.class_outputs, *decoder.objectness_outputs, *decoder.box_outputs)
        case Ssd():
            named = (decoder.boxes, decoder.scores, decoder.labels, decoder.count)
            return tuple(name for name in named if name is not None)
        case Detr():
            return tuple(name for name in (decoder.boxes, decoder.scores, decoder.labels) if name is not None)
