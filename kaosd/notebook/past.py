"""The past of a notebook: which versions are kept, which saves are one line of it, and what can be rolled back to."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from kaosd.journal import Journal, KnownVersion, Live
from kaosd.model import Deployment, Version

HOUR, DAY = 3600.0, 86400.0  # seconds
HOURLY, DAILY = DAY, 31 * DAY  # ages up to which one version an hour, and one a day, is kept
GROWING = 2.5  # seconds between two takes of a file that grows all the time, at most; see bundle/writers.py
SHORT = ("sync", "attach")  # what a save costs that is one of many


def kept_versions(versions: Sequence[KnownVersion], now: float, newest: int, protected: Collection[str]) -> set[str]:
    """Digests of the versions that stay, out of those of one kind, the one deployed last first.

    The *newest* ones, those *protected*, and the last one of each hour of the last day and of each day of the last
    month. Asking again later about what stayed drops nothing that a later hour or day does not replace.
    """
    keep = {one.version.digest for one in versions[:newest]} | set(protected)
    seen: set[tuple[float, int]] = set()
    for one in versions:
        for span, oldest in ((HOUR, HOURLY), (DAY, DAILY)):
            bucket = (span, int(one.at // span))
            if now - one.at <= oldest and bucket not in seen:
                seen.add(bucket)
                keep.add(one.version.digest)
    return keep


def one_line(before: Deployment, after: Deployment, *, grown: bool, settle: float) -> bool:
    """Whether two deployments that follow each other are one line of the history: *before* goes then.

    Both are quick and brought the same one path, one right after the other. grown: that file has only become larger,
    as a log does; such a file is taken less often. settle: seconds of quiet after a save.
    """
    same = len(after.cause) == 1 and before.cause == after.cause and not after.cause[0].startswith("[")
    quick = before.action in SHORT and after.action == before.action
    if not (same and quick and before.outcome == after.outcome == "live") or before.finished_at is None:
        return False
    return after.started_at - before.finished_at <= (max(settle, GROWING) if grown else settle)


class Past:
    """What a notebook can be rolled back to: the deployments whose content is kept.

    journal: also says which versions are kept; contents of others may go at any time.
    """

    def __init__(self, journal: Journal, name: str, live: Live) -> None:
        self._name = name
        self._live = live
        self._journal = journal
        self._kept = {kind: {one.version.digest for one in journal.versions(name, kind)} for kind in ("source", "data")}

    def can_return_to(self, one: Deployment) -> bool:
        """Whether what *one* brought can be served again."""
        if one.source is None or one.outcome not in ("live", "superseded"):
            return False
        return self.is_kept("source", one.source) and self.is_kept("data", one.data)

    def deployments(self, limit: int = 1000) -> list[Deployment]:
        """Those that can be returned to, newest first."""
        return [one for one in self._journal.deployments(self._name, limit) if self.can_return_to(one)]

    def current(self, limit: int = 1000) -> int | None:
        """The number of the deployment that brought what is served; None where nothing is, or it is forgotten."""
        wanted = (self._live.source, self._live.data)
        found = (one.number for one in self._journal.deployments(self._name, limit) if one.outcome == "live"
                 and (one.source, one.data) == wanted)  # fmt: skip
        return next(found, None) if self._live.source is not None else None

    def before(self, limit: int = 1000) -> Deployment | None:
        """The one that was live before what is served now."""
        found = (one for one in self.deployments(limit) if one.outcome == "live" and one.source != self._live.source)
        return next(found, None)

    def is_kept(self, kind: str, version: Version | None) -> bool:
        """Whether the content of a version is kept; None has none. kind: "source" or "data"."""
        if version is None:
            return True
        served = self._live.source if kind == "source" else self._live.data
        return version == served or version.digest in self._kept[kind]
