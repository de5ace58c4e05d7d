"""Any ONNX file: what the file says is read, what it cannot say is asked, on the terminal or from a TOML file.

An answer has the key that it has in the manifest (``input.colour``, ``decoder.box_format``; `docs/manifest.md` explains
each), so a TOML file of answers is the part of a manifest that nobody can read off a network. Answers are kept in
``answers.toml`` beside the model as they are given: asked again after an interruption, only the rest is asked.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from appliance.errors import UsageError
from export.facts import Facts, Value, facts_of, read_model
from export.importers.common import Imported, finish, name_of
from export.importers.labels import categories

ANSWERS: Final = "answers.toml"
MAX_ANSWERS_BYTES: Final = 256 * 1024
NOTHING: Final = "-"
"""The answer that leaves an optional key out."""
DTYPES: Final = frozenset({"uint8", "float32", "float16"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One key of the manifest. ``default`` is JSON or None where there is no guess; ``choices`` empty means any."""

    key: str
    text: str
    default: str | None = None
    choices: tuple[str, ...] = ()
    optional: bool = False


Ask = Callable[[Question], str]
#: Values are JSON where they are not words: 0.25, true, [0.5, 0.5, 0.5], [8, 16, 32].
ALWAYS: Final = (
    Question(key="licence", text="licence of the network (SPDX, or - for none known)", optional=True),
    Question(key="labels", text="labels in the order of the classes, with commas, or a file with one a line"),
    Question(key="input.colour", text="order of colours", default="BGR", choices=("BGR", "RGB", "GRAY")),
    Question(key="input.fit", text="how a frame is fitted", default="letterbox", choices=("letterbox", "stretch")),
    Question(key="thresholds.score", text="lowest score that is reported", default="0.3"),
)
#: Where the network takes floats: value = (pixel × scale − mean) / std. Bytes are normalised in the graph.
FLOATS: Final = (
    Question(key="input.scale", text="pixels are multiplied by (1 or 0.00392156862745098)", default="1.0"),
    Question(key="input.mean", text="then this is taken away, one value or three", default="[0.0]"),
    Question(key="input.std", text="then it is divided by this, one value or three", default="[1.0]"),
)
KIND: Final = Question(
    key="decoder.kind", text="kind of head", default="detr", choices=("detr", "ssd", "yolox", "nanodet", "yunet")
)
_BOXES: Final = (
    Question(key="decoder.boxes", text="output with the boxes"),
    Question(key="decoder.scores", text="output with the scores"),
    Question(key="decoder.labels", text="output with class indices (- where scores are per class)", optional=True),
    Question(key="decoder.box_format", text="a box is", default="cxcywh", choices=("xyxy", "yxyx", "cxcywh")),
    Question(key="decoder.box_unit", text="in", default="normalised", choices=("pixel", "normalised")),
    Question(
        key="decoder.score_kind",
        text="scores are",
        default="probability",
        choices=("probability", "sigmoid", "softmax"),
    ),
    Question(key="decoder.background", text="class index that means nothing (- for none)", optional=True),
)
OF_KIND: Final[Mapping[str, tuple[Question, ...]]] = {
    "detr": (*_BOXES, Question(key="thresholds.nms_iou", text="overlap that suppresses (null: none)", default="null")),
    "ssd": (*_BOXES, Question(key="thresholds.nms_iou", text="overlap that suppresses (null: none)", default="0.45")),
    "yolox": (
        Question(key="decoder.output", text="the output"),
        Question(key="decoder.strides", text="strides", default="[8, 16, 32]"),
        Question(key="decoder.decoded", text="grid offsets are applied in the graph", default="false"),
        Question(
            key="decoder.score_kind", text="scores are", default="probability", choices=("probability", "sigmoid")
        ),
    ),
    "nanodet": (
        Question(key="decoder.output", text="the output"),
        Question(key="decoder.strides", text="strides", default="[8, 16, 32, 64]"),
        Question(key="decoder.reg_max", text="largest distance bin", default="7"),
    ),
    "yunet": (
        Question(key="decoder.class_outputs", text="class outputs, one a stride, as JSON"),
        Question(key="decoder.objectness_outputs", text="objectness outputs, one a stride, as JSON"),
        Question(key="decoder.box_outputs", text="box outputs, one a stride, as JSON"),
        Question(key="decoder.strides", text="strides", default="[8, 16, 32]"),
    ),
}


def import_any(
    model: Path,
    out: Path,
    *,
    answers: Path | None = None,
    ask: Ask | None = None,
    category: Sequence[str] = (),
    pictures: Sequence[Path] = (),
) -> Imported:
    """Makes the manifest from the file, the answers given before, ``answers`` and ``ask``; writes and tries it.

    Raises: UsageError where an answer is missing and nobody can be asked, or makes no sense; BundleRefused,
    EngineUnavailable where a device would not take what came of it.
    """
    raw, _ = read_model(model)
    facts = facts_of(model)
    given = {**_read(out / ANSWERS, missing_is_fine=True), **(_read(answers) if answers is not None else {})}
    page: dict[str, Any] = {"schema": "edge.manifest/1", "task": "detection", "name": name_of(model.stem)}
    for key, value in {**_guessed(facts), **given}.items():
        _put(page, key, value)
    missing: list[str] = []
    out.mkdir(parents=True, exist_ok=True)
    for question in _questions(facts, page):
        if _has(page, question.key) or question.key in given:
            continue
        if ask is None:
            missing.extend([] if question.optional else [question.key])
            continue
        given[question.key] = _answer(question, ask)
        _put(page, question.key, given[question.key])
        _keep(given, out / ANSWERS)
    if missing:
        told = ", ".join(missing)
        raise UsageError(f"{model}: expected answers for {told} in a TOML file (--answers), or a terminal to ask on")
    page["labels"] = _labels(page["labels"])
    page.setdefault("categories", {"labels": categories(page["labels"], category), "default": None})
    return finish(raw, _without_nothing(page), out, pictures)


def _questions(facts: Facts, page: Mapping[str, Any]) -> Iterator[Question]:
    """In order; what is asked next may hang on what was answered before."""
    yield from ALWAYS[:-1]
    if facts.inputs[0].dtype != "uint8":
        yield from FLOATS
    yield KIND
    kind = page.get("decoder", {}).get("kind", "")
    if kind and kind not in OF_KIND:
        raise UsageError(f"decoder.kind: expected one of {', '.join(OF_KIND)}; found {kind!r}")
    yield from OF_KIND.get(kind, ())
    yield ALWAYS[-1]


def _guessed(facts: Facts) -> dict[str, Any]:
    """What the file itself says: the input's name, type, layout and size.

    Raises: UsageError where the first input is no picture.
    """
    image = facts.inputs[0] if facts.inputs else None
    if image is None or len(image.shape) != 4 or image.dtype not in DTYPES:
        raise UsageError(f"expected a first input of four axes and {', '.join(sorted(DTYPES))}; found {image}")
    channels_first = image.shape[1] in {1, 3}
    height, width = image.shape[2:4] if channels_first else image.shape[1:3]
    found: dict[str, Any] = {
        "input.name": image.name,
        "input.dtype": image.dtype,
        "input.layout": "NCHW" if channels_first else "NHWC",
    }
    if isinstance(height, int) and isinstance(width, int):
        found["input.size"] = {"kind": "fixed", "width_px": width, "height_px": height}
    else:
        found["input.size"] = {"kind": "multiple", "multiple_px": 32, "max_width_px": 640, "max_height_px": 640}
    return found | _outputs(facts.outputs)


def _outputs(outputs: Sequence[Value]) -> dict[str, Any]:
    """Names that leave no choice."""
    names = {value.name for value in outputs}
    found = {f"decoder.{role}": role for role in ("boxes", "scores", "labels") if role in names}
    return found if {"decoder.boxes", "decoder.scores"} <= found.keys() else {}


def _answer(question: Question, ask: Ask) -> Any:
    text = ask(question).strip()
    if question.optional and text in {"", NOTHING}:
        return NOTHING
    if not text:
        raise UsageError(f"{question.key}: expected an answer; found none")
    if question.choices:
        if text not in question.choices:
            raise UsageError(f"{question.key}: expected one of {', '.join(question.choices)}; found {text!r}")
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _labels(value: Any) -> list[str]:
    """A list, words with commas, or a file of them."""
    if isinstance(value, list):
        return [str(label) for label in value]
    text = str(value)
    if "," not in text and Path(text).is_file():
        text = Path(text).read_text(encoding="utf-8").strip().replace("\n", ",")
    return [label.strip() for label in text.split(",") if label.strip()]


def _read(path: Path, *, missing_is_fine: bool = False) -> dict[str, Any]:
    """Answers by dotted key. ``null`` has no spelling in TOML: the word stands for it."""
    try:
        raw = path.read_bytes()
        if len(raw) > MAX_ANSWERS_BYTES:
            raise UsageError(f"{path}: expected at most {MAX_ANSWERS_BYTES} bytes; found {len(raw)}")
        table = tomllib.loads(raw.decode())
    except FileNotFoundError as e:
        if missing_is_fine:
            return {}
        raise UsageError(f"{path}: no such file") from e
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
        raise UsageError(f"{path}: expected answers in TOML; found: {e}") from e
    return dict(_flat(table))


def _flat(table: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """One level of dots, as the questions have it: deeper tables are values."""
    for key, value in table.items():
        if key in {"input", "decoder", "thresholds"} and isinstance(value, dict):
            yield from ((f"{key}.{inner}", None if each == "null" else each) for inner, each in value.items())
        else:
            yield key, value


def _keep(given: Mapping[str, Any], path: Path) -> None:
    """Answers so far, whole or not at all. JSON's strings, numbers and lists are TOML's too."""
    lines = [f"{key} = {json.dumps('null' if value is None else value)}\n" for key, value in given.items()]
    new = path.with_suffix(".new")
    new.write_text("".join(lines), encoding="utf-8")
    new.replace(path)


def _put(page: dict[str, Any], key: str, value: Any) -> None:
    outer, _, inner = key.partition(".")
    if not inner:
        page[outer] = value
        return
    table = page.setdefault(outer, {})
    if not isinstance(table, dict):
        raise UsageError(f"{outer}: expected a table; found {table!r}")
    table[inner] = value


def _has(page: Mapping[str, Any], key: str) -> bool:
    outer, _, inner = key.partition(".")
    return outer in page if not inner else inner in page.get(outer, {})


def _without_nothing(page: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in page.items() if value != NOTHING}
    return {
        key: {inner: each for inner, each in value.items() if each != NOTHING} if isinstance(value, dict) else value
        for key, value in kept.items()
    }
