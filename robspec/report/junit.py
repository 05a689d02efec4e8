"""JUnit XML, as CI servers read test results: a suite per specification, a test case per requirement.

There is no schema of its own authors; this is what Jenkins' and Ant's readers have in common. A requirement that is
UNKNOWN is a failure with its gap as the message, unless the command allows it; none is `skipped`, which readers show
green.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree

from robspec.report._findings import Finding, findings
from robspec.report._words import constant_line, overall_line
from robspec.verify.result import CheckReport

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(report: CheckReport, _width: int, _colour: bool) -> str:
    """Write the report as JUnit XML."""
    found = findings(report)
    counts = {
        "tests": str(len(found)),
        "failures": str(sum(not f.passed and not f.broken for f in found)),
        "errors": str(sum(f.broken for f in found)),
        "time": f"{report.times.total:.3f}",
    }
    name = _clean(report.files.get("spec", "robspec"))
    root = ElementTree.Element("testsuites", {"name": "robspec", **counts})
    suite = ElementTree.SubElement(root, "testsuite", {"name": name, **counts, "skipped": "0"})
    properties = ElementTree.SubElement(suite, "properties")
    for key, value in (*report.versions.items(), *((f"{k} sha256", v) for k, v in report.hashes.items())):
        ElementTree.SubElement(properties, "property", {"name": _clean(key), "value": _clean(value)})
    for finding in found:
        _case(suite, finding, name)
    rest = [overall_line(report), *dict.fromkeys(constant_line(p.constant) for p in report.properties)]
    rest += [*(str(n) for n in report.remarks), *report.notes]
    ElementTree.SubElement(suite, "system-out").text = _clean("\n".join(rest))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _case(suite: ElementTree.Element, finding: Finding, spec: str) -> None:
    attributes = {"classname": _clean(f"{spec}.{finding.group}"), "name": _clean(finding.name), "time": "0"}
    case = ElementTree.SubElement(suite, "testcase", attributes)
    if not finding.passed:
        kind = "error" if finding.broken else "failure"
        told = {"message": _clean(finding.summary), "type": finding.rule}
        ElementTree.SubElement(case, kind, told).text = _clean("\n".join(finding.details))
    else:
        ElementTree.SubElement(case, "system-out").text = _clean(finding.text)


def _clean(text: str) -> str:
    """Leave out what XML 1.0 has no way to write."""
    return _NOT_XML.sub("�", text)
