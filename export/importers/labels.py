"""Labels of a model, and the categories that they are reported as.

COCO's eighty names (Lin et al. 2014, arXiv 1405.0312) stand here because most public detectors use them. Other labels
are looked up by the same table of words; what is not found is looked at and not reported, and the integrator is told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from appliance.bundles.manifest_parts import MAX_LABELS
from appliance.domain import CATEGORIES
from appliance.errors import UsageError

_COCO_TEXT: Final = """
    person bicycle car motorcycle airplane bus train truck boat traffic_light fire_hydrant stop_sign
    parking_meter bench bird cat dog horse sheep cow elephant bear zebra giraffe backpack umbrella handbag tie
    suitcase frisbee skis snowboard sports_ball kite baseball_bat baseball_glove skateboard surfboard
    tennis_racket bottle wine_glass cup fork knife spoon bowl banana apple sandwich orange broccoli carrot
    hot_dog pizza donut cake chair couch potted_plant bed dining_table toilet tv laptop mouse remote keyboard
    cell_phone microwave oven toaster sink refrigerator book clock vase scissors teddy_bear hair_drier
    toothbrush
"""
COCO: Final = tuple(word.replace("_", " ") for word in _COCO_TEXT.split())

#: Words of public data sets (COCO, Objects365, VisDrone, DOTA) that mean a category of ours.
WORDS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("person", "people", "pedestrian", "man", "woman", "child", "face"), "person"),
    **dict.fromkeys(("vehicle", "train", "tractor"), "vehicle"),
    **dict.fromkeys(("car", "suv", "sedan", "small vehicle"), "vehicle/car"),
    **dict.fromkeys(("truck", "lorry", "large vehicle"), "vehicle/truck"),
    **dict.fromkeys(("motorcycle", "motorbike", "motor"), "vehicle/motorcycle"),
    **dict.fromkeys(("bicycle", "bike", "tricycle"), "vehicle/bicycle"),
    **dict.fromkeys(("van", "minivan"), "vehicle/van"),
    **dict.fromkeys(("tank", "tracked vehicle"), "vehicle/tracked"),
    "bus": "vehicle/bus",
    **dict.fromkeys(("vessel",), "vessel"),
    **dict.fromkeys(("ship", "cargo ship", "ferry"), "vessel/ship"),
    **dict.fromkeys(("boat", "sailboat", "canoe", "kayak"), "vessel/boat"),
    **dict.fromkeys(("airplane", "aeroplane", "plane", "aircraft"), "aircraft/aeroplane"),
    "helicopter": "aircraft/helicopter",
    **dict.fromkeys(("drone", "uav", "quadcopter"), "aircraft/drone"),
    **dict.fromkeys(("animal", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear"), "animal"),
    **dict.fromkeys(("zebra", "giraffe", "deer", "pig"), "animal"),
    **dict.fromkeys(("fire", "flame"), "fire"),
}


def read_labels(path: Path | None, count: int) -> tuple[str, ...]:
    """One label a line, or COCO's where no file is given.

    Raises: UsageError where their number is not that of the network's classes.
    """
    if path is None:
        labels: Sequence[str] = COCO
        source = "the names of COCO; give --labels FILE"
    else:
        try:
            labels = [text.strip() for text in path.read_text(encoding="utf-8").splitlines() if text.strip()]
        except (OSError, UnicodeDecodeError) as e:
            raise UsageError(f"{path}: expected a text file with one label a line; found: {e}") from e
        source = str(path)
    if len(labels) != count or count > MAX_LABELS:
        raise UsageError(
            f"labels: expected {count}, as many as the network has classes; found {len(labels)} in {source}"
        )
    return tuple(labels)


def categories(labels: Sequence[str], said: Sequence[str]) -> dict[str, str]:
    """The category of each label that has one; ``said`` are ``label=category``, which overrule the table.

    Raises: UsageError for an unknown label or category, or where no label has a category.
    """
    found = {label: WORDS[word] for label in labels if (word := label.lower().replace("_", " ")) in WORDS}
    for text in said:
        label, _, category = text.rpartition("=")
        if label not in labels:
            raise UsageError(f"--category: expected LABEL=CATEGORY with a label of the model; found {text!r}")
        if category not in CATEGORIES:
            raise UsageError(f"--category: expected one of {', '.join(sorted(CATEGORIES))}; found {category!r}")
        found[label] = category
    if not found:
        raise UsageError("labels: none has a category that is known; say --category LABEL=CATEGORY")
    return found
