"""Limits, mounts and permissions, each scenario of inside.py in user and mount namespaces of its own."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path

import inside
import pytest

pytestmark = pytest.mark.not_quick

SCENARIOS = [
    name for name, value in vars(inside).items() if inspect.iscoroutinefunction(value) and value.__module__ == "inside"
]
NAMESPACES = ["unshare", "--user", "--map-root-user", "--mount"]
# Root in a namespace may read everything that is its own; take that away.
MORTAL = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]


@pytest.mark.skipif(
    subprocess.run([*NAMESPACES, *MORTAL, "true"], check=False, capture_output=True).returncode != 0,
    reason="this machine (a container?) does not let us make user namespaces",
)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_inside_namespaces(scenario, tmp_path):
    here = Path(__file__).parent
    done = subprocess.run(
        [*NAMESPACES, *MORTAL, sys.executable, "-W", "error", here / "inside.py", scenario, tmp_path],
        env=os.environ | {"PYTHONPATH": str(here.parent.parent)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
