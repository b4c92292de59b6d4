"""Local projects whose code is read where the notebook has it, and not where it was when the environment was built."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from urllib.parse import quote


def lead_to(environment: Path, built: str, work: str) -> None:
    """Let the editable projects of an environment, built in the directory *built*, be read in *work*. Raises OSError.

    An editable project is a path in a .pth file or in a module that finds its packages; no file of it is a copy.
    """
    forms = ((built, work), (quote(built), quote(work)))
    for record in environment.glob("lib/python3*/site-packages/*.dist-info/RECORD"):
        if not _editable(record.parent):
            continue
        with record.open(newline="", encoding="utf-8") as rows:
            names = [row[0] for row in csv.reader(rows) if row]
        for name in names:
            path = record.parent.parent / name
            if path.suffix in (".pth", ".py", ".json") and path.is_file() and not path.is_symlink():
                _rewrite(path, forms)


def _editable(info: Path) -> bool:
    try:
        return bool(json.loads((info / "direct_url.json").read_text())["dir_info"]["editable"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _rewrite(path: Path, forms: tuple[tuple[str, str], ...]) -> None:
    """Write a file again with other paths; uv may have linked it to its cache, so it is never written through."""
    content = path.read_text(encoding="utf-8", errors="surrogateescape")
    changed = content
    for old, new in forms:
        changed = changed.replace(old, new)
    if changed != content:
        path.unlink()
        path.write_text(changed, encoding="utf-8", errors="surrogateescape")
