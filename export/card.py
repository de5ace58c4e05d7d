"""A model's card: what a person must know before relying on it, as Markdown.

Parts between markers are written here from the network, the manifest and reports, and are written anew each time; all
other text is the integrator's and stays as it is. What cannot be read is asked for: a card does not exist without a
statement of what the network was trained on, and none is ever made up.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from appliance.bundles.manifest import FixedSize, Manifest
from appliance.errors import UsageError
from export.accuracy import Report, explain, table
from export.facts import Facts

MAX_CARD_BYTES: Final = 1024**2
LEAST_STATEMENT: Final = 10
"""Characters: "n/a" is no statement."""
PARTS: Final[dict[str, str]] = {"facts": "What it is", "training": "What it was trained on", "accuracy": "Accuracy"}
TOP_OPERATORS: Final = 12


def make(before: str | None, facts: Facts, manifest: Manifest, *, trained_on: str | None, report: Report | None) -> str:
    """The card; ``before`` is the card that is there already, or None.

    Raises: UsageError where nobody says what the network was trained on, or markers of ``before`` are broken.
    """
    parts = {"facts": _facts(facts, manifest)}
    if trained_on is not None:
        if len(trained_on.strip()) < LEAST_STATEMENT:
            raise UsageError(f"--trained-on: expected a statement of at least {LEAST_STATEMENT} characters")
        parts["training"] = trained_on.strip()
    elif before is None or "training" not in _found(before):
        raise UsageError("--trained-on: expected what the network was trained on; a card does not exist without it")
    if report is not None:
        parts["accuracy"] = f"{explain(report)}\n\n{table(report)}"
    return _put(before if before is not None else f"# {manifest.name}\n", parts)


def read_card(path: Path) -> str | None:
    """The card at ``path``, or None where there is none.

    Raises: UsageError.
    """
    try:
        raw = path.read_bytes()
        if len(raw) > MAX_CARD_BYTES:
            raise UsageError(f"{path}: expected at most {MAX_CARD_BYTES} bytes; found {len(raw)}")
        return raw.decode()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as e:
        raise UsageError(f"{path}: expected a text in UTF-8; found: {e}") from e


def _put(card: str, parts: Mapping[str, str]) -> str:
    found = _found(card)
    for name, text in parts.items():
        block = f"{_begin(name)}\n{text}\n{_end(name)}"
        if name in found:
            start, stop = card.index(_begin(name)), card.index(_end(name)) + len(_end(name))
            card = card[:start] + block + card[stop:]
        else:
            card = f"{card.rstrip()}\n\n## {PARTS[name]}\n\n{block}\n"
    return card


def _found(card: str) -> set[str]:
    """The parts that a card has; each marker once, the begin before the end, or it is refused."""
    found = set()
    for name in PARTS:
        begins, ends = card.count(_begin(name)), card.count(_end(name))
        if (begins, ends) == (0, 0):
            continue
        if (begins, ends) != (1, 1) or card.index(_begin(name)) > card.index(_end(name)):
            raise UsageError(f"card: expected the markers of {name!r} once, the first before the last")
        found.add(name)
    return found


def _begin(name: str) -> str:
    return f"<!-- export:{name} -->"


def _end(name: str) -> str:
    return f"<!-- end of export:{name} -->"


def _facts(facts: Facts, manifest: Manifest) -> str:
    size = manifest.input.size
    if isinstance(size, FixedSize):
        picture = f"{size.width_px} × {size.height_px}"
    else:
        picture = f"multiples of {size.multiple_px} up to {size.max_width_px} × {size.max_height_px}"
    image = manifest.input
    operators = ", ".join(f"{name} {count}" for name, count in list(facts.operators.items())[:TOP_OPERATORS])
    rows = {
        "task": manifest.task,
        "description": manifest.description or "none given",
        "licence": manifest.licence or "**not stated**",
        "picture": f"{picture} {image.colour}, {image.dtype}, {image.layout}, {image.fit} {image.align}; batch 1 to "
        f"{manifest.max_batch}",
        "inputs": "; ".join(map(str, facts.inputs)),
        "outputs": "; ".join(map(str, facts.outputs)),
        "decoder": type(manifest.decoder).__name__,
        "labels": f"{len(manifest.labels)}: {', '.join(manifest.labels)}",
        "network": f"{facts.parameters} parameters, {sum(facts.operators.values())} nodes ({operators})",
        "precision": "INT8 (Q/DQ)" if facts.quantised else "float",
        "file": f"{facts.length_bytes} bytes, ONNX opset {facts.opset}, made by {facts.producer or 'nobody named'}",
        "SHA-384": facts.sha384,
    }
    return "| | |\n|---|---|\n" + "\n".join(f"| {key} | {_cell(value)} |" for key, value in rows.items())


def _cell(text: str) -> str:
    """Text of others in a table: no line breaks, no bars, and no markers of ours."""
    return re.sub(r"\s+", " ", text).replace("|", r"\|").replace("<!--", "< !--")
