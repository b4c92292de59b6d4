"""The process engine's own tests once more, by a person whose systemd answers: hosts then run in units of their own."""

from __future__ import annotations

import re

import pytest

from tests.systemd.machine import CHECKOUT, Machine

pytestmark = pytest.mark.timeout(900)


def test_hosts_in_units_do_what_plain_children_do(machine: Machine) -> None:
    tests = str(CHECKOUT / "tests" / "engines" / "test_process.py")
    told = machine.run(
        "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "tests.no_skips", f"--rootdir={CHECKOUT}",
        tests, PYTHONPATH=str(CHECKOUT), PYTHONDONTWRITEBYTECODE="1",
    )  # fmt: skip
    assert re.search(r"\d+ passed in", told), told
    started = set(re.findall(r"Started (kaos-host-[0-9a-f]+-[0-9a-f]+\.service)", machine.journal()))
    assert len(started) > 20
