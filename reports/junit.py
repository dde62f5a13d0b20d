"""A judgement as JUnit XML, which CI servers show as tests: a case for each condition and level.

The elements and attributes are those that Jenkins' JUnit plug-in, GitLab and GitHub's actions read: testsuites >
testsuite (name, tests, failures, errors, skipped, time, timestamp) > testcase (classname, name, time) > failure or
error (message, type).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

from reports.judgement import THE_RUN, Judgement, Verdict

#: What XML 1.0 cannot hold, even escaped; a server's words may.
_FORBIDDEN = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SUITE = "tokenswarm"


def junit_xml(judgement: Judgement, began: datetime) -> str:
    """The XML document. Its first case is whether the figures are to be believed at all."""
    broken = sum(finding.verdict is Verdict.BROKEN for finding in judgement.findings)
    undecided = sum(finding.verdict is Verdict.UNDECIDED for finding in judgement.findings)
    counts = {
        "tests": str(len(judgement.findings) + 1),
        "failures": str(broken),
        "errors": str(undecided + bool(judgement.doubts)),
    }
    when = began.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    root = ET.Element("testsuites", {"name": _SUITE, **counts})
    facts = {"name": _text(judgement.subject), **counts, "skipped": "0", "time": "0", "timestamp": when}
    suite = ET.SubElement(root, "testsuite", facts)
    believed = _case(suite, THE_RUN, "the figures are to be believed")
    if judgement.doubts:
        _fault(believed, "error", "in doubt", "; ".join(judgement.doubts))
    for finding in judgement.findings:
        case = _case(suite, finding.level, finding.condition)
        if finding.verdict is Verdict.BROKEN:
            _fault(case, "failure", "broken", finding.told)
        elif finding.verdict is Verdict.UNDECIDED:
            _fault(case, "error", "inconclusive", finding.told)
        else:
            ET.SubElement(case, "system-out").text = _text(finding.told)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _case(suite: ET.Element, level: str, name: str) -> ET.Element:
    # A dot would make a package of it.
    classname = f"{_SUITE}.{level.replace('.', ' ')}"
    return ET.SubElement(suite, "testcase", classname=_text(classname), name=_text(name), time="0")


def _fault(case: ET.Element, kind: str, type_: str, told: str) -> None:
    ET.SubElement(case, kind, message=_text(told), type=type_).text = _text(told)


def _text(text: str) -> str:
    return _FORBIDDEN.sub("�", text)
