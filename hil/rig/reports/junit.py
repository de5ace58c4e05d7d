"""A result as JUnit XML, as CI servers read it: a test suite for each trial, a test case for each reading."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from hil.rig.result import Result, TrialResult
from hil.rig.verdict import Outcome, Reading


def junit(result: Result) -> bytes:
    """The document."""
    root = ET.Element("testsuites", name=result.campaign, time=f"{result.took_s:.1f}")
    for trial in result.trials:
        root.append(_suite(trial))
    ET.indent(root)
    return b'<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="utf-8") + b"\n"


def _suite(trial: TrialResult) -> ET.Element:
    failures = sum(reading.outcome is not Outcome.PASS for reading in trial.readings)
    broken = trial.outcome not in {Outcome.PASS, Outcome.FAIL}
    suite = ET.Element(
        "testsuite", name=trial.name, tests=str(len(trial.readings) + 1), failures=str(failures),
        errors=str(int(broken)), skipped=str(int(trial.not_run)), time=f"{trial.played_s:.1f}",
    )  # fmt: skip
    whole = ET.SubElement(suite, "testcase", classname=trial.name, name="ran to its end", time=f"{trial.played_s:.1f}")
    if trial.not_run:
        ET.SubElement(whole, "skipped", message=clean(trial.why))
    elif broken:
        ET.SubElement(whole, "error", type=trial.outcome.value, message=clean(trial.why)).text = clean(trial.log)
    for reading in trial.readings:
        suite.append(_case(trial, reading))
    return suite


def _case(trial: TrialResult, reading: Reading) -> ET.Element:
    case = ET.Element("testcase", classname=trial.name, name=reading.name)
    value = "not taken" if reading.value is None else f"{reading.value:g} {reading.unit}".strip()
    says = clean(f"{reading.what}: {value}, limit {reading.limit}. {reading.says}".strip())
    if reading.outcome is not Outcome.PASS:
        ET.SubElement(case, "failure", type=reading.outcome.value, message=says)
    else:
        ET.SubElement(case, "system-out").text = says
    return case


def clean(text: str) -> str:
    """Without characters that XML 1.0 §2.2 does not allow, which a hostile device could put into its log."""
    return "".join(c for c in text if c in "\t\n\r" or "\x20" <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd")
