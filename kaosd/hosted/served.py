"""Which environments served this notebook before: pages that were loaded then still need their files."""

from __future__ import annotations

import json
import os

_KEPT = 4  # environments whose pages may still be open somewhere
_SERVED = "served.json"  # their prefixes, newest first


def earlier_pages(directory: str, prefix: str) -> list[str]:
    """Directories with JupyterLab's own files of earlier servers of this notebook; *prefix* is noted as the newest.

    The names of these files hold their digests, so that a page that was loaded before can still load its parts.
    directory: where the note of prefixes is.
    """
    note = os.path.join(directory, _SERVED)
    try:
        with open(note, encoding="utf-8") as file:
            known = [one for one in json.load(file) if isinstance(one, str)]
    except (FileNotFoundError, ValueError):
        known = []
    known = [prefix, *(one for one in known if one != prefix)][:_KEPT]
    os.makedirs(directory, mode=0o700, exist_ok=True)
    with open(note + ".new", "w", encoding="utf-8") as file:
        json.dump(known, file)
    os.replace(note + ".new", note)
    places = [os.path.join(one, "share", "jupyter", "lab", "static") for one in known[1:]]
    return [place for place in places if os.path.isdir(place)]
