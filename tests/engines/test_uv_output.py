"""How far uv is, by lines that its versions have written."""

from __future__ import annotations

import pytest

from kaosd.engines.process.uv_output import Tally

WHOLE = [  # uv 0.13 without a terminal: each line, and what is known after it ("": as before)
    ("Using Python 3.11.7 environment at: v", ""),
    ("Resolved 99 packages in 514ms", "99 packages"),
    ("Downloading numpy (16.1MiB)", "99 packages; 0 of 1 downloads, 0 of 17 MB"),
    ("   Building loc @ file:///src/loc", "99 packages; 0 of 1 downloads, 0 of 17 MB; 0 of 1 built"),
    ("Downloading torch (1.1GiB)", "99 packages; 0 of 2 downloads, 0 of 1198 MB; 0 of 1 built"),
    (" Downloaded numpy", "99 packages; 1 of 2 downloads, 17 of 1198 MB; 0 of 1 built"),
    ("      Built loc @ file:///src/loc", "99 packages; 1 of 2 downloads, 17 of 1198 MB; 1 of 1 built"),
    (" Downloaded torch", "99 packages; 2 of 2 downloads, 1198 of 1198 MB; 1 of 1 built"),
    (
        "Prepared 12 packages in 4.64s",
        "12 packages fetched; 2 of 2 downloads, 1198 of 1198 MB; 1 of 1 built",
    ),
    (
        "Installed 99 packages in 425ms",
        "99 packages installed; 2 of 2 downloads, 1198 of 1198 MB; 1 of 1 built",
    ),
    (" + numpy==2.4.6", ""),
    (" + loc==1 (from file:///src/loc)", ""),
]


def test_the_lines_of_a_whole_run() -> None:
    tally = Tally()
    known = ""
    for line, after in WHOLE:
        assert tally.take(line) is bool(after), line
        known = after or known
        assert str(tally) == known


@pytest.mark.parametrize(
    ("lines", "known"),
    [
        ([], ""),
        (["Resolved 1 package in 2ms"], "1 package"),
        (["Prepared 1 package in 2m 03s"], "1 package fetched"),
        (["Downloaded 12 packages in 1.20s"], "12 packages fetched"),  # of older versions
        (["Downloading pip", "Downloaded pip"], "1 of 1 downloads"),  # of unknown size
        (["Downloading x (900KiB)", "Downloading y (1.5TiB)"], "0 of 2 downloads, 0 of 1649268 MB"),
        (["Downloading x (524288B)"], "0 of 1 downloads, 0 of 1 MB"),
        (
            ["Downloading cpython-3.12.1-linux-x86_64-gnu (download) (28.1MiB)"],
            "0 of 1 downloads, 0 of 29 MB",
        ),
        (
            [
                "Downloading cpython-3.12.1-linux-x86_64-gnu (download) (28.1MiB)",
                " Downloaded cpython-3.12.1-linux-x86_64-gnu (download)",
            ],
            "1 of 1 downloads, 29 of 29 MB",
        ),
        # again after a failure, or in the next run: what is done stays done
        (
            ["Downloading x (10MiB)", " Downloaded x", "Downloading x (10MiB)"],
            "1 of 1 downloads, 10 of 10 MB",
        ),
        (["   Building six==1.0", "      Built six==1.0", "   Building six==1.0"], "1 of 1 built"),
        # an end whose beginning was not told
        ([" Downloaded x", "      Built y"], "1 of 1 downloads; 1 of 1 built"),
        # what others write
        (["  Downloading numpy-2.0-cp311.whl (16.1 MB)"], ""),
        (["Downloading a b c"], ""),
        (["Downloading x (1.2.3MiB)", "Resolved many packages in 1s", "Resolved 99 packages"], ""),
        (["step 4/4 install", "Downloading", "Building", "Building ", "", "\x1b[2mResolved 9 packages in 1s"], ""),
    ],
)
def test_what_lines_tell(lines: list[str], known: str) -> None:
    tally = Tally()
    for line in lines:
        tally.take(line)
    assert str(tally) == known


def test_what_is_finished_never_becomes_less_and_never_more_than_all() -> None:
    tally = Tally()
    before = (0, 0)
    for number in range(200):
        tally.take(f"Downloading p{number % 40} (2MiB)")
        tally.take(f" Downloaded p{number % 60}")
        words = str(tally).split()
        done, known = int(words[0]), int(words[2])
        assert before[0] <= done <= known
        assert before[1] <= known
        before = done, known
