"""tests/pictures/status.svg: what `kaosctl status` shows, drawn from the real program on a real terminal.

`python -m tests.pictures` starts a daemon with three notebooks (one live, one whose requirements do not build, one
that is paused), runs kaosctl on a terminal of 96 columns and turns its text and colours into an SVG.
"""

from __future__ import annotations

import fcntl
import html
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path

from tests.e2e.conftest import make_bundle
from tests.e2e.daemon import Daemon

PICTURE = Path(__file__).parent / "pictures" / "status.svg"
COLUMNS = 96
WIDE, HIGH, EDGE = 8.4, 20, 16  # of a character, of a line, around all; in pixels
COLOURS = {"1": "#ffffff", "2": "#8b949e", "31": "#ff7b72", "32": "#7ee787", "33": "#e3b341", "36": "#79c0ff"}
TEXT, GROUND = "#d0d7de", "#0d1117"


def drawn(text: str, command: str) -> str:
    """The SVG of a terminal's *text* after *command*."""
    lines = [f"\x1b[2m$\x1b[0m {command}", *text.rstrip("\n").replace("\r", "").split("\n")]
    width, height = round(COLUMNS * WIDE + 2 * EDGE), len(lines) * HIGH + 2 * EDGE
    rows = [_line(line, EDGE + HIGH * (number + 0.75)) for number, line in enumerate(lines)]
    plain = html.escape("\n".join(re.sub(r"\x1b\[\d+m", "", line) for line in lines))
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" font-family="ui-monospace, Menlo, Consolas, monospace" font-size="14">\n<title>{plain}</title>\n'
        f'<rect width="100%" height="100%" rx="8" fill="{GROUND}"/>'
    )
    return "\n".join([head, *rows, "</svg>"]) + "\n"


def _line(line: str, y: float) -> str:
    """One line: a tspan for each run of one colour, at its column."""
    spans, column, colour = [], 0, TEXT
    for part in re.split(r"(\x1b\[\d+m)", line):
        if found := re.fullmatch(r"\x1b\[(\d+)m", part):
            colour = COLOURS.get(found[1], TEXT)
        elif part:
            x = EDGE + column * WIDE
            length = f'textLength="{len(part) * WIDE:.1f}" lengthAdjust="spacingAndGlyphs"'
            spans.append(f'<tspan x="{x:.1f}" fill="{colour}" {length}>{html.escape(part)}</tspan>')
            column += len(part)
    return f'<text y="{y:g}" xml:space="preserve">{"".join(spans)}</text>'


def on_terminal(command: list[str], environ: dict[str, str]) -> str:
    """What *command* writes on a terminal of its own."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env={**environ, "TERM": "xterm"})
    os.close(slave)
    text = b""
    while True:
        try:
            text += os.read(master, 65536)
        except OSError:  # how Linux says that the last writer has gone
            break
    os.close(master)
    process.wait()
    return text.decode()


def photographed(place: Path) -> str:
    """The status of a daemon below *place* with its three notebooks."""
    daemon = Daemon(place / "d")
    sources = {name: make_bundle(place / name) for name in ("churn", "fraud", "mnist")}
    try:
        daemon.start()
        for name, source in sources.items():
            daemon.deploy(name, source)
        (sources["fraud"] / "model" / "requirements.txt").write_text("numpy\nshap-lite==9\n")
        daemon.ctl("wait", "fraud", check=False)
        daemon.ctl("pause", "mnist")
        (sources["mnist"] / "model" / "train.py").write_text("ANSWER = 2\n")
        (sources["churn"] / "model" / "train.py").write_text("ANSWER = 2\n")
        daemon.live("churn")
        daemon.ctl("wait", "mnist", check=False)
        return on_terminal([sys.executable, "-m", "kaosd.ctl", "status"], daemon.environ)
    finally:
        daemon.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="kp") as directory:
        (Path(directory) / "d").mkdir()
        PICTURE.parent.mkdir(exist_ok=True)
        PICTURE.write_text(drawn(photographed(Path(directory)), "kaosctl status"))
