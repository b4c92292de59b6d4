"""Arguments: what is valid, and the sentence when it is not."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import pytest

from kaosd.ctl import values

NOON = time.mktime((2026, 11, 18, 12, 0, 0, 0, 0, -1))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30", 30), ("45s", 45), ("0.5", 0.5), ("10m", 600), ("1h30m", 5400), ("2d", 172800), ("1d2h3m4s", 93784)],
)
def test_a_span_of_time(text: str, seconds: float) -> None:
    assert values.seconds(text) == seconds


@pytest.mark.parametrize(
    ("text", "before_noon"),
    [("10m", 600), ("11:30", 1800), ("11:59:30", 30), ("12:00", 0), ("13:00", 23 * 3600)],
)
def test_a_moment_before_now(text: str, before_noon: float) -> None:
    assert values.moment(text, NOON) == NOON - before_noon


def test_a_moment_as_rfc_3339() -> None:
    assert values.moment("2026-11-18T11:26:40+01:00") == 1_794_997_600.0
    assert values.moment("2026-11-18T12:00:00") == NOON


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (values.seconds, ""),
        (values.seconds, "soon"),
        (values.seconds, "-5"),
        (values.seconds, "5m1h"),
        (values.moment, "25:00"),
        (values.moment, "11:60"),
        (values.moment, "then"),
        (values.moment, ""),
        (values.deployment, "first"),
        (values.deployment, "-1"),
        (values.job, "xyz"),
        (values.job, "a" * 33),
        (values.job, ""),
        (values.pattern, "("),
        (values.count, "-1"),
        (values.count, "1.5"),
        (values.cores, "0"),
        (values.cores, "-2"),
        (values.cores, "nan"),
        (values.cores, "inf"),
        (values.cores, "lots"),
    ],
)
def test_what_is_not_valid_is_named(parse: Callable[[str], object], text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is no"):
        parse(text)


def test_deployments_jobs_and_cores() -> None:
    assert [values.deployment(text) for text in ("7", "last", "failed")] == [7, "last", "failed"]
    assert values.job("3F2A") == "3f2a"
    assert values.cores("0.5") == 0.5
