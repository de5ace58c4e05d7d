"""The published JSON Schemas are those of the code. Rewrite with: python tests/pipeline/test_schemas.py"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from appliance.pipeline.bodies import BODIES, schemas

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "schema"


def text(name: str) -> str:
    return json.dumps(schemas()[name], indent=2, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("name", sorted(BODIES))
def test_the_published_schema_is_that_of_the_code(name: str) -> None:
    assert (FOLDER / f"{name}.json").read_text(encoding="utf-8") == text(name)


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for each in BODIES:
        (FOLDER / f"{each}.json").write_text(text(each), encoding="utf-8")
