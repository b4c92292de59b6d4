"""How far uv is, by the lines that it writes where there is no terminal.

What uv does not say there: how many of the packages it has to fetch (until it has fetched all), and anything about
downloads below 1 MiB and packages from its cache. A download counts as a whole when it ends.
"""

from __future__ import annotations

import re

_COUNT = re.compile(r"(Resolved|Prepared|Downloaded|Installed) ([0-9]+) packages? in ")  # Downloaded: of older versions
_DOES = {"Resolved": "", "Prepared": " fetched", "Downloaded": " fetched", "Installed": " installed"}
_DOWNLOAD = re.compile(r"Downloading (\S+)(?: \(download\))?(?: \(([0-9]+(?:\.[0-9]+)?)((?:[KMGT]i)?B)\))?$")
_DOWNLOADED = re.compile(r" *Downloaded (\S+)(?: \(download\))?$")
_BUILD = re.compile(r" *(Building|Built) (\S.*)$")
_MEGABYTES = {"B": 1 / 1e6, "KiB": 2**10 / 1e6, "MiB": 2**20 / 1e6, "GiB": 2**30 / 1e6, "TiB": 2**40 / 1e6}


class Tally:
    """What the runs of uv in one build have told so far; its counts of finished downloads and builds never fall."""

    def __init__(self) -> None:
        self._packages = ""
        self._sizes: dict[str, float] = {}  # MB of each download that was announced; 0 where uv did not say
        self._downloaded: set[str] = set()
        self._built: dict[str, bool] = {}

    def take(self, line: str) -> bool:
        """Take in one line; whether it told anything."""
        if match := _COUNT.match(line):
            self._packages = f"{match[2]} package{'' if match[2] == '1' else 's'}{_DOES[match[1]]}"
        elif match := _DOWNLOAD.match(line):
            self._sizes[match[1]] = float(match[2]) * _MEGABYTES[match[3]] if match[2] else 0
        elif match := _DOWNLOADED.match(line):
            self._sizes.setdefault(match[1], 0)
            self._downloaded.add(match[1])
        elif match := _BUILD.match(line):
            self._built[match[2]] = self._built.get(match[2], False) or match[1] == "Built"
        return match is not None

    def __str__(self) -> str:
        parts = [self._packages] if self._packages else []
        if self._sizes:
            done, size = sum(self._sizes[name] for name in self._downloaded), sum(self._sizes.values())
            amount = f", {done:.0f} of {size:.0f} MB" if size else ""
            parts.append(f"{len(self._downloaded)} of {len(self._sizes)} downloads{amount}")
        if self._built:
            parts.append(f"{sum(self._built.values())} of {len(self._built)} built")
        return "; ".join(parts)
