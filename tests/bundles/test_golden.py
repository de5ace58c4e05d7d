"""The golden page and its numbers: one strict form, and a comparison that finds the worst element."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.bundles.answers import array_of, check_data, compare, inputs_of
from appliance.bundles.golden import MAX_GOLDEN_BYTES, Golden, Tolerance, encode_golden, parse_golden
from appliance.bundles.manifest import Manifest, parse_manifest
from appliance.errors import BundleRefused
from tests.support.networks import CELLS, MANIFEST

MODEL = "ab" * 48
PICTURE = np.linspace(0, 255, 3 * 32 * 32, dtype=np.float32).reshape(1, 3, 32, 32)
ANSWER = np.linspace(-10, 10, CELLS * 6, dtype=np.float32).reshape(1, CELLS, 6)


@pytest.fixture
def manifest() -> Manifest:
    return parse_manifest(json.dumps(MANIFEST).encode())


@pytest.fixture
def data() -> bytearray:
    return bytearray(PICTURE.tobytes() + ANSWER.tobytes())


@pytest.fixture
def body(data: bytearray) -> dict[str, Any]:
    """A good page, to be damaged."""
    return {
        "schema": "edge-golden/1",
        "model_sha384": MODEL,
        "data_sha384": hashlib.sha384(data).hexdigest(),
        "data_bytes": len(data),
        "made_by": "a test",
        "tolerances": {
            "output": {
                "tolerance": {"absolute": 0.01, "relative": 0.0, "outliers": 0.0},
                "engine_tolerance": {"absolute": 0.1, "relative": 0.02, "outliers": 0.01},
            }
        },
        "cases": [
            {
                "name": "noise",
                "inputs": [
                    {"name": "images", "dtype": "float32", "shape": [1, 3, 32, 32], "offset": 0, "length": 12288}
                ],
                "outputs": [
                    {
                        "name": "output",
                        "dtype": "float32",
                        "shape": [1, CELLS, 6],
                        "offset": 12288,
                        "length": CELLS * 6 * 4,
                    }
                ],
            }
        ],
    }


def _parse(body: dict[str, Any], manifest: Manifest) -> Golden:
    return parse_golden(json.dumps(body).encode(), model_sha384=MODEL, manifest=manifest)


def test_a_good_page_is_read_and_comes_back_from_its_own_writing(body: Any, data: bytearray, manifest: Any) -> None:
    golden = _parse(body, manifest)
    assert parse_golden(encode_golden(golden), model_sha384=MODEL, manifest=manifest) == golden
    check_data(golden, memoryview(data))
    case = golden.cases[0]
    np.testing.assert_array_equal(inputs_of(case, memoryview(data))["images"], PICTURE)
    with pytest.raises(ValueError, match="read-only"):
        array_of(case.outputs[0], memoryview(data))[0] = 1


def _tensor(body: Any) -> Any:
    return body["cases"][0]["outputs"][0]


DAMAGE: dict[str, Callable[[Any], object]] = {
    "another schema": lambda body: body.update(schema="edge-golden/2"),
    "an unknown key": lambda body: body.update(surprise=1),
    "an unknown key in a tolerance": lambda body: body["tolerances"]["output"]["tolerance"].update(sigma=1),
    "another network": lambda body: body.update(model_sha384="cd" * 48),
    "a digest in capitals": lambda body: body.update(data_sha384="AB" * 48),
    "no case": lambda body: body.update(cases=[]),
    "too many cases": lambda body: body.update(cases=[{**body["cases"][0], "name": f"c{n}"} for n in range(33)]),
    "one name twice": lambda body: body["cases"].append(dict(body["cases"][0])),
    "a hostile case name": lambda body: body["cases"][0].update(name="../x"),
    "a hole": lambda body: _tensor(body).update(offset=12352),
    "an overlap": lambda body: _tensor(body).update(offset=0),
    "a negative offset": lambda body: _tensor(body).update(offset=-64),
    "an offset beyond everything": lambda body: _tensor(body).update(offset=2**62),
    "a length that does not fit": lambda body: _tensor(body).update(length=CELLS * 6 * 4 - 1),
    "a length of nothing": lambda body: _tensor(body).update(length=0),
    "a shape that is gigantic": lambda body: _tensor(body).update(shape=[2**24] * 8),
    "a side that is negative": lambda body: _tensor(body).update(shape=[1, -CELLS, -6]),
    "a side of nothing": lambda body: _tensor(body).update(shape=[1, 0, 6]),
    "too many axes": lambda body: _tensor(body).update(shape=[1] * 9),
    "a type that is none": lambda body: _tensor(body).update(dtype="object"),
    "a pickled type": lambda body: _tensor(body).update(dtype="O"),
    "data behind the last tensor": lambda body: body.update(data_bytes=body["data_bytes"] + 64),
    "data without end": lambda body: body.update(data_bytes=2**62),
    "an output that nobody reads": lambda body: _tensor(body).update(name="boxes"),
    "no tolerance for an output": lambda body: body.update(tolerances={}),
    "a tolerance that allows all": lambda body: body["tolerances"]["output"]["tolerance"].update(relative=1.0),
    "outliers without end": lambda body: body["tolerances"]["output"]["tolerance"].update(outliers=0.5),
    "a tolerance below nothing": lambda body: body["tolerances"]["output"]["tolerance"].update(absolute=-1.0),
    "no engine tolerance": lambda body: body["tolerances"]["output"].pop("engine_tolerance"),
    "an input of another type": lambda body: body["cases"][0]["inputs"][0].update(dtype="int32"),
    "an input that the manifest does not have": lambda body: body["cases"][0]["inputs"][0].update(name="pixels"),
    "a picture of another size": lambda body: body["cases"][0]["inputs"][0].update(shape=[1, 3, 16, 64]),
    "a picture in another layout": lambda body: body["cases"][0]["inputs"][0].update(shape=[1, 32, 32, 3]),
    "more pictures than the network takes": lambda body: body["cases"][0]["inputs"][0].update(shape=[3, 1, 32, 32]),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_page_with_a_fault_is_refused(body: Any, manifest: Any, what: str) -> None:
    DAMAGE[what](body)
    with pytest.raises(BundleRefused) as caught:
        _parse(body, manifest)
    assert caught.value.reason == "golden"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[" * 50_000,
        b"\xff\xfe",
        b'{"schema":"edge-golden/1","schema":"edge-golden/1"}',
        b" " * (MAX_GOLDEN_BYTES + 1),
    ],
)
def test_what_is_no_page_is_refused(manifest: Any, raw: bytes) -> None:
    with pytest.raises(BundleRefused) as caught:
        parse_golden(raw, model_sha384=MODEL, manifest=manifest)
    assert caught.value.reason == "golden"


def test_one_key_twice_is_refused(body: Any, manifest: Any) -> None:
    raw = json.dumps(body).replace('"made_by": "a test"', '"made_by": "a test", "made_by": "another"').encode()
    with pytest.raises(BundleRefused, match="repeated"):
        parse_golden(raw, model_sha384=MODEL, manifest=manifest)


@pytest.mark.parametrize("change", ["shorter", "longer", "flipped"])
def test_numbers_that_are_not_those_of_the_page_are_refused(
    body: Any, data: bytearray, manifest: Any, change: str
) -> None:
    golden = _parse(body, manifest)
    flipped = data[:-1] + bytes([data[-1] ^ 1])
    changed = {"shorter": data[:-4], "longer": data + bytes(4), "flipped": flipped}[change]
    with pytest.raises(BundleRefused) as caught:
        check_data(golden, memoryview(changed))
    assert caught.value.reason == "golden"


def test_a_golden_number_that_is_none_is_refused(body: Any, manifest: Any) -> None:
    answer = ANSWER.copy()
    answer[0, 3, 2] = np.nan
    data = PICTURE.tobytes() + answer.tobytes()
    body["data_sha384"] = hashlib.sha384(data).hexdigest()
    with pytest.raises(BundleRefused, match="not finite"):
        check_data(_parse(body, manifest), memoryview(data))


def _compared(body: Any, data: bytearray, manifest: Any, answer: Any, runs: Any = "runtime") -> Any:
    golden = _parse(body, manifest)
    return compare(golden, golden.cases[0], {"output": answer}, memoryview(data), runs=runs)


def test_the_worst_element_is_found_with_its_error(body: Any, data: bytearray, manifest: Any) -> None:
    answer = ANSWER.copy()
    answer[0, 5, 1] += 0.005
    answer[0, 7, 2] -= 0.04
    worst = _compared(body, data, manifest, answer)
    assert (worst.case, worst.output, worst.ok) == ("noise", "output", False)
    assert worst.error == pytest.approx(0.04, rel=1e-3)
    assert worst.times_tolerance == pytest.approx(4, rel=1e-3)
    assert worst.wrong == 1 / ANSWER.size
    assert "off by 0.04" in str(worst)
    assert _compared(body, data, manifest, answer, "engine").ok


def test_an_engine_may_have_outliers_and_only_so_many(body: Any, data: bytearray, manifest: Any) -> None:
    answer = ANSWER.copy()
    answer.flat[0] += 5
    assert _compared(body, data, manifest, answer, "engine").ok
    answer.flat[:2] += 5
    assert not _compared(body, data, manifest, answer, "engine").ok


def test_an_engine_in_half_precision_passes(body: Any, data: bytearray, manifest: Any) -> None:
    assert _compared(body, data, manifest, ANSWER.astype(np.float16), "engine").ok


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (None, "did not give it"),
        (ANSWER[:, 1:], "shape"),
        (ANSWER.astype(np.int32), "int32"),
        (np.full_like(ANSWER, np.nan), "finite"),
        (np.full_like(ANSWER, np.inf), "finite"),
    ],
)
def test_an_answer_that_cannot_be_compared_is_wrong_whatever_the_tolerance(
    body: Any, data: bytearray, manifest: Any, answer: Any, why: str
) -> None:
    golden = _parse(body, manifest)
    given_ = {} if answer is None else {"output": answer}
    worst = compare(golden, golden.cases[0], given_, memoryview(data), runs="engine")
    assert not worst.ok
    assert why in str(worst)


@settings(max_examples=60, deadline=None)
@given(
    error=st.floats(-1, 1), place=st.integers(0, CELLS * 6 - 1), absolute=st.floats(0, 1), relative=st.floats(0, 0.2)
)
def test_the_verdict_is_the_formula(error: float, place: int, absolute: float, relative: float) -> None:
    data = PICTURE.tobytes() + ANSWER.tobytes()
    tolerance = Tolerance(absolute=absolute, relative=relative)
    page = {
        "schema": "edge-golden/1",
        "model_sha384": MODEL,
        "data_sha384": hashlib.sha384(data).hexdigest(),
        "data_bytes": len(data),
        "made_by": "",
        "tolerances": {"output": {"tolerance": tolerance, "engine_tolerance": tolerance}},
        "cases": [
            {
                "name": "one",
                "inputs": [
                    {"name": "images", "dtype": "float32", "shape": [1, 3, 32, 32], "offset": 0, "length": 12288}
                ],
                "outputs": [
                    {"name": "output", "dtype": "float32", "shape": [1, CELLS, 6], "offset": 12288, "length": 504}
                ],
            }
        ],
    }
    golden = parse_golden(
        encode_golden(page),  # type: ignore[arg-type]
        model_sha384=MODEL,
        manifest=parse_manifest(json.dumps(MANIFEST).encode()),
    )
    answer = ANSWER.copy()
    answer.flat[place] += np.float32(error)
    off = np.abs(answer.astype(np.float64) - ANSWER.astype(np.float64))
    allowed = absolute + relative * np.abs(ANSWER.astype(np.float64))
    worst = compare(golden, golden.cases[0], {"output": answer}, memoryview(data), runs="runtime")
    assert worst.ok == bool((off <= allowed).all())
