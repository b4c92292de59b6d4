"""Values of arguments: text in, value out, or ArgumentTypeError that says what is valid."""

from __future__ import annotations

import math
import re
import time
from argparse import ArgumentTypeError
from contextlib import suppress
from datetime import datetime

_SPAN = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?")
_CLOCK = re.compile(r"(\d{1,2}):(\d\d)(?::(\d\d))?")


def seconds(text: str) -> float:
    """A span of time: 30, 45s, 10m, 1h30m, 2d."""
    found = _SPAN.fullmatch(text)
    if not text or not found:
        raise ArgumentTypeError(f"{text!r} is not a span of time; write for example 30, 45s, 10m or 1h30m")
    return sum(float(part or 0) * unit for part, unit in zip(found.groups(), (86400, 3600, 60, 1), strict=True))


def moment(text: str, now: float | None = None) -> float:
    """A moment, in seconds since the epoch: 10m (ago), 14:30 (the last one, local time), or RFC 3339."""
    now = time.time() if now is None else now
    if found := _CLOCK.fullmatch(text):
        hour, minute, second = (int(part or 0) for part in found.groups())
        if hour < 24 and minute < 60 and second < 60:
            return _clock(hour, minute, second, now)
    elif text and _SPAN.fullmatch(text):
        return now - seconds(text)
    else:
        with suppress(ValueError):
            return datetime.fromisoformat(text).timestamp()
    raise ArgumentTypeError(f"{text!r} is not a time; write for example 10m, 14:30 or 2026-11-23T14:30:00Z")


def _clock(hour: int, minute: int, second: int, now: float) -> float:
    today = time.localtime(now)
    parts = (today.tm_year, today.tm_mon, today.tm_mday, hour, minute, second, 0, 0, -1)
    at = time.mktime(parts)
    return at if at <= now else time.mktime((*parts[:2], parts[2] - 1, *parts[3:]))


def deployment(text: str) -> int | str:
    """A deployment: its number, last or failed."""
    if text in ("last", "failed"):
        return text
    if text.isdecimal():
        return int(text)
    raise ArgumentTypeError(f"{text!r} is not a deployment; write its number, last or failed")


def job(text: str) -> str:
    """The first digits of a job's id."""
    if re.fullmatch(r"[0-9a-f]{1,32}", text.lower()):
        return text.lower()
    raise ArgumentTypeError(f"{text!r} is not a job; its id has 32 hexadecimal digits, the first few are enough")


def pattern(text: str) -> re.Pattern[str]:
    """A regular expression."""
    try:
        return re.compile(text)
    except re.error as error:
        raise ArgumentTypeError(f"{text!r} is not a regular expression: {error}") from None


def count(text: str) -> int:
    """A whole number from 0 on."""
    if text.isdecimal():
        return int(text)
    raise ArgumentTypeError(f"{text!r} is not a whole number from 0 on")


def cores(text: str) -> float:
    """A number of cores above 0."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if math.isfinite(number) and number > 0:
        return number
    raise ArgumentTypeError(f"{text!r} is not a number of cores; write for example 2 or 0.5")
