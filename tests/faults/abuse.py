"""What a hostile page, neighbour, bundle or notebook tries, and what comes of it: a table of attacks on a real daemon.

`python -m tests.faults.abuse` prints the table with expectation and outcome.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.faults.abuse_bundle import BUNDLE
from tests.faults.abuse_secrets import SECRETS
from tests.faults.abuse_wire import FRONT, REFUSED, SOCKET
from tests.faults.prey import Case, Prey

CASES = [*SECRETS, *SOCKET, *FRONT, *BUNDLE]


def outcome(prey: Prey, case: Case) -> str:
    """What came of it; the daemon must be there afterwards, and serve."""
    found = case.attack(prey)
    assert prey.daemon.process is not None
    assert prey.daemon.process.poll() is None, prey.daemon.output()
    return found


def main() -> int:
    """Print the table."""
    prey = Prey(Path(tempfile.mkdtemp(prefix="ka")))
    bad = 0
    try:
        for number, case in enumerate(CASES, 1):
            found = outcome(prey, case)
            fine = found in case.expected
            bad += not fine
            wanted = "refused" if case.expected is REFUSED else " or ".join(case.expected)
            print(f"{number:3} {case.where:8} {case.name:50} {wanted:28} {found[:60]:28} {'' if fine else 'BAD'}")
    finally:
        prey.daemon.close()
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
