"""A checks as JUnit XML, which CI servers show as tests: a case for each condition and level.

The elements and attributes are those that Jenkins' JUnit plug-in, GitLab and GitHub's actions read: testsuites >
testsuite (name, tests, failures, errors, skipped, time, timestamp) > testcase (classname, name, time) > failure or
error (message, type).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

from tokenswarm.reports.checks.check_report import THE_RUN, UNSTABLE_TEXT, CheckReport, CheckStatus, Reason

#: What XML 1.0 cannot hold, even escaped; a server's words may.
_FORBIDDEN = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SUITE = "tokenswarm"


def junit_xml(checks: CheckReport, began: datetime, capacity: str = "") -> str:
    """The XML document. Its first case is whether the results are reliable at all; each unstable level has one that is
    skipped, with the reason. Properties of the suite: unreliable results that are judged all the same, and capacity,
    what a capacity search found."""
    broken = sum(result.status is CheckStatus.FAIL for result in checks.check_results)
    undecided = sum(result.status not in (CheckStatus.PASS, CheckStatus.FAIL) for result in checks.check_results)
    counts = {
        "tests": str(len(checks.check_results) + len(checks.unstable) + 1),
        "failures": str(broken),
        "errors": str(undecided + bool(checks.unreliable)),
    }
    when = began.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    root = ET.Element("testsuites", {"name": _SUITE, **counts})
    facts = {
        "name": _text(checks.subject),
        **counts,
        "skipped": str(len(checks.unstable)),
        "time": "0",
        "timestamp": when,
    }
    suite = ET.SubElement(root, "testsuite", facts)
    properties_of_suite = {state: "; ".join(reasons) for state, reasons in _by_state(checks.allowed).items()}
    properties_of_suite |= {"capacity": capacity} if capacity else {}
    if properties_of_suite:
        properties = ET.SubElement(suite, "properties")
        for name, value in properties_of_suite.items():
            ET.SubElement(properties, "property", name=_text(name), value=_text(value))
    reliable = _case(suite, THE_RUN, "the results are reliable")
    if checks.unreliable:
        _fault(reliable, "error", "unreliable", _in_words(checks.unreliable))
    for level in checks.unstable:  # not judged by itself: a condition or an SLO does
        ET.SubElement(_case(suite, level, "the load is stable"), "skipped", message=_text(UNSTABLE_TEXT))
    for result in checks.check_results:
        case = _case(suite, result.level, result.condition)
        if result.status is CheckStatus.FAIL:
            _fault(case, "failure", "failed", result.text)
        elif result.status is not CheckStatus.PASS:
            _fault(case, "error", result.status.value, result.text)
        else:
            ET.SubElement(case, "system-out").text = _text(result.text)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _by_state(reasons: Sequence[Reason]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for reason in reasons:
        found.setdefault(reason.state, []).append(reason.text)
    return found


def _in_words(reasons: Sequence[Reason]) -> str:
    return "; ".join(f"{state}: {'; '.join(texts)}" for state, texts in _by_state(reasons).items())


def _case(suite: ET.Element, level: str, name: str) -> ET.Element:
    # A dot would make a package of it.
    classname = f"{_SUITE}.{level.replace('.', ' ')}"
    return ET.SubElement(suite, "testcase", classname=_text(classname), name=_text(name), time="0")


def _fault(case: ET.Element, kind: str, type_: str, text: str) -> None:
    ET.SubElement(case, kind, message=_text(text), type=type_).text = _text(text)


def _text(text: str) -> str:
    return _FORBIDDEN.sub("�", text)
