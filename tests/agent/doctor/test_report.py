from __future__ import annotations

import json

import pytest

from paceline_agent.doctor.finding import Finding
from paceline_agent.doctor.report import Report

FINE = Finding("gpu", "ok", "8 GPUs")
NONE = Finding("rdma", "absent", "no RDMA device")
LESS = Finding("kernel log", "limited", "not readable", "dmesg_restrict is 1", "--cap-add SYSLOG")
NOTHING = Finding("web", "broken", "port taken", "somebody has it", "free it")


def test_text() -> None:
    assert Report("node-a", "root, on the host", [FINE, NONE, LESS, NOTHING]).text() == (
        "node-a: root, on the host\n"
        "\n"
        "ok       gpu         8 GPUs\n"
        "absent   rdma        no RDMA device\n"
        "limited  kernel log  not readable\n"
        "                     why: dmesg_restrict is 1\n"
        "                     fix: --cap-add SYSLOG\n"
        "broken   web         port taken\n"
        "                     why: somebody has it\n"
        "                     fix: free it\n"
        "\n"
        "1 limited, 1 broken.\n"
    )


def test_colour_changes_the_status_words_only() -> None:
    report = Report("node-a", "root, on the host", [FINE, LESS])
    coloured = report.text(colour=True)
    assert "\x1b[32mok     \x1b[0m  gpu" in coloured
    for code in ("\x1b[32m", "\x1b[33m", "\x1b[0m"):
        coloured = coloured.replace(code, "")
    assert coloured == report.text()


@pytest.mark.parametrize(
    ("findings", "status"), [([FINE, NONE], 0), ([FINE, LESS], 1), ([NOTHING], 1), ([NONE], 0)]
)
def test_the_exit_status(findings: list[Finding], status: int) -> None:
    report = Report("node-a", "root, on the host", findings)
    assert report.status == status
    assert ("The agent sees all that is here." in report.text()) == (status == 0)
    assert json.loads(report.json())["healthy"] == (status == 0)


def test_json() -> None:
    assert json.loads(Report("node-a", "root, in a pod", [LESS]).json()) == {
        "schema": 1,
        "node": "node-a",
        "place": "root, in a pod",
        "healthy": False,
        "findings": [
            {
                "subject": "kernel log",
                "status": "limited",
                "seen": "not readable",
                "why": "dmesg_restrict is 1",
                "fix": "--cap-add SYSLOG",
            }
        ],
    }
