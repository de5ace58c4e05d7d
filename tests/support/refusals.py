"""What is refused, and which test shows it: docs/refusals.md is made from the tests themselves.

    python -m tests.support.refusals > docs/refusals.md

A line is a test's own name; its codes are the reasons that stand in its source. ``KINDS`` says only under which heading
a test stands, by words of its name; a test that fits none is listed last, so nothing can be left out.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from appliance.bundles.reasons import REASONS

REPOSITORY: Final = Path(__file__).resolve().parents[2]
FILES: Final = (
    "test_refuse_metadata.py",
    "test_refuse_media.py",
    "test_refuse_policy.py",
    "test_refuse_network.py",
    "test_refuse_device.py",
    "test_trust_state.py",
    "test_selftest.py",
    "test_fuzz.py",
    "test_golden.py",
    "test_install.py",
)
#: Headings in order, and words of which a test's name must have one. The first heading that fits takes the test.
KINDS: Final[tuple[tuple[str, str], ...]] = (
    ("Clock and expiry", r"clock|expire|floor_of_time|issued|_time_"),
    ("Delegations", r"delegat|speak_for_another"),
    ("Keys and schemes", r"_scheme|another_digest|no_digests|classical|revoked_integrator|stolen|rotat"),
    ("Signatures and thresholds", r"signature|threshold|signer_counted|two_ids|wrong_role|stray"),
    ("Roots and other fleets", r"root|fleet"),
    ("The device's memory", r"a_memory|wiped|damaged_memory|trust_state|slot_record|kept_its_floors"),
    (
        "Old sticks, mixed metadata",
        r"old_|forgets_a_role|stand_in_for|mixed|lower_counter|revoked_release|revokes|newer_stick",
    ),
    (
        "Golden outputs and the self-test",
        r"golden|self_test|answers_otherwise|outputs_differ|does_not_load|not_a_number",
    ),
    ("Networks", r"network|operator|tensor|weights"),
    ("Archives", r"archive|pax|long_name"),
    (
        "Names, links, pipes, devices",
        r"link|pipe|socket|device_node|place_of_the_stick|odd_name|not_text|role_whose|hostile_name|folders_without"
        r"|more_files",
    ),
    (
        "Sticks that change, vanish or do not fit",
        r"pulled|exchanged|grows|medium_that|without_room|fills_up|full|at_once|comes_late|what_was_hashed|not_there",
    ),
    ("Sizes and JSON", r"without_end|meant_to_hurt|spelt|no_json|endless"),
    ("Units, products, hardware", r"unit|product|hardware|newer_appliance|without_a_name|group"),
    ("Files and lists", r"file|listed|lists|manifest|role_that|payload_of|nothing_leads|schema|format"),
)


ROLES: Final = frozenset({"golden", "manifest", "onnx"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One test that refuses: its sentence, where it stands, and the reasons that it names."""

    sentence: str
    file: str
    codes: tuple[str, ...]


def cases() -> Iterator[Case]:
    """Every test of the files above that names a reason or says that something is refused."""
    for name in FILES:
        source = (REPOSITORY / "tests" / "slots" / name).read_text(encoding="utf-8")
        tree = ast.parse(source)
        tables = {
            target.id: ast.get_source_segment(source, node) or ""
            for node in tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                yield from _case(name, node, source, tables)


def _case(file: str, node: ast.FunctionDef, source: str, tables: dict[str, str]) -> Iterator[Case]:
    parts = [node, *node.decorator_list]
    text = "\n".join(ast.get_source_segment(source, part) or "" for part in parts)
    text += "".join(table for name, table in tables.items() if re.search(rf"\b{name}\b", text))
    codes = tuple(code for code in REASONS if _names(code, text))
    if not codes and file == "test_selftest.py":
        codes = ("self-test",)  # its helper holds every refusal to that
    refuses = re.search(r"refuse|BundleRefused|_must_refuse", text)
    if refuses and (codes or "refused" in node.name):
        yield Case(sentence=node.name.removeprefix("test_").replace("_", " "), file=file, codes=codes)


def _names(code: str, text: str) -> bool:
    """Whether a test's source names a reason; three of them are names of roles of files too."""
    if code not in ROLES:
        return f'"{code}"' in text
    return re.search(rf'refuses\([^)]*"{code}"|reason == "{code}"|_\w+(\(.*\))?, "{code}"\)', text) is not None


def kind_of(case: Case) -> str:
    """The heading under which a case stands."""
    name = case.sentence.replace(" ", "_")
    return next((title for title, words in KINDS if re.search(words, name)), "Further")


def page() -> str:
    """docs/refusals.md."""
    found = list(cases())
    lines = [
        "# What is refused, and which test shows it",
        "",
        f"{len(found)} tests, many with several cases each. This page is made from their names and sources (`python -m",
        "tests.support.refusals`), and a test keeps it true. Where a whole stick is refused, most tests hold",
        "the device to all of this (`Device.refuses` in `tests/slots/conftest.py`): the reason code, exit",
        "code 3, slots and trust state byte for byte as they were, nothing outside the state folder, no",
        "staging folder left, exactly one audit line more, and a maximum of processor time and memory.",
        "[bundles.md](bundles.md) explains the codes; `make fuzz` adds 100,000 bundles.",
    ]
    for title in [*(title for title, _ in KINDS), "Further"]:
        rows = [case for case in found if kind_of(case) == title]
        if rows:
            lines += ["", f"## {title}", "", "| what | code | where |", "|---|---|---|"]
            lines += [f"| {row.sentence} | {_codes(row)} | `{row.file}` |" for row in rows]
    return "\n".join(lines) + "\n"


def _codes(case: Case) -> str:
    return " ".join(f"`{code}`" for code in case.codes) or "by the byte"


if __name__ == "__main__":
    sys.stdout.write(page())
