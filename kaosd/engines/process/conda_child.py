"""Solve and install packages of conda: `python conda_child.py ORDER`, a program of its own since it works for minutes.

ORDER is a file of JSON: channels, specs, target (the directory that becomes the environment) and cache. What it tells
are lines; the last one, after RESULT, is JSON: {"failed": null} or why, and "part": "solve", "fetch" or "install".
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

RESULT = "kaosd result: "


async def _run(order: dict[str, Any]) -> dict[str, Any]:
    import rattler  # noqa: PLC0415 - an extra of kaosd

    part = "fetch"
    try:
        channels = [rattler.Channel(name) for name in order["channels"]]
        gateway = rattler.Gateway(cache_dir=Path(order["cache"]) / "repodata")
        specs = [rattler.MatchSpec(spec) for spec in order["specs"]]
        platforms = [rattler.Subdir.current(), rattler.Subdir("noarch")]
        await gateway.query(channels, platforms, [rattler.MatchSpec("python")], recursive=False)
        part = "solve"
        virtual = rattler.VirtualPackage.detect()
        records = await rattler.solve(channels, specs, gateway, platforms, virtual_packages=virtual)
        part = "install"
        for record in sorted(records, key=lambda one: one.name.normalized):
            sys.stdout.write(f" + {record.name.normalized}=={record.version} (conda)\n")
        sys.stdout.flush()
        await rattler.install(
            records, order["target"], cache_dir=Path(order["cache"]) / "packages", show_progress=False
        )
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told
        return {"failed": f"{error}".strip() or type(error).__name__, "part": part}
    return {"failed": None, "part": part}


def main(path: str) -> None:
    """Run as a program; see the module."""
    order = json.loads(Path(path).read_text(encoding="utf-8"))
    result = asyncio.run(_run(order))
    sys.stdout.write(RESULT + json.dumps(result) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
