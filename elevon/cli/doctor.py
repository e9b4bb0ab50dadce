"""``elevon doctor``: can pilots run on this machine, and if not, what to do."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

import click

from elevon.cli.common import json_option
from elevon.cli.doctor_checks import CHECKS


@click.command()
@json_option
def command(as_json: bool) -> None:
    """Check Python, kernels, MPI, memory and network, and start a pilot of two ranks.

    The exit code is 0 where all is well, otherwise 1. Every check ends within a minute.
    """
    findings = []
    for check in CHECKS:
        finding = check()
        findings.append(finding)
        if not as_json:
            click.echo(finding)
    well = all(finding.ok for finding in findings)
    if as_json:
        click.echo(json.dumps({"ok": well, "checks": [asdict(finding) for finding in findings]}))
    sys.exit(0 if well else 1)
