"""What kind of line a log line is: its level, and whether it is only what JupyterLab says at every start."""

from __future__ import annotations

import re

ERROR, WARNING, DEBUG, OTHER = "error", "warning", "debug", ""
_LEVELS = (
    (
        ERROR,
        re.compile(
            r"\b(error|ERROR|Error):|\bERROR\b|^Traceback |^\s*\u00d7 |^\[?[CE] [A-Z]|^(error|critical)\s|^-- failed"
        ),
    ),
    (WARNING, re.compile(r"\b(\w*Warning|warning|WARNING):|^\[?W [A-Z]|^warning\s")),
    (DEBUG, re.compile(r"^\[?D [A-Z]|^debug\s")),
)
_SAID_AT_EVERY_START = re.compile(
    r"\[?I FileIdExtension|\[?I \S+ (Extension package \S+ took |\S+ \| extension was successfully |"
    r"Writing (Jupyter server cookie secret|notebook-signing key) |"
    r"JupyterLab (extension loaded from|application directory is) |Extension Manager is |Build is up to date|"
    r"Serving notebooks from local directory|Jupyter Server \S+ is running at|https?(\+unix)?://|"
    r"Use Control-C to stop |Skipped non-installed server|Adapting from protocol version )|"
    r"\[?W \S+ The websocket_ping_timeout |\s+Setting websocket_ping_timeout=|\[?D "
)


def level(text: str) -> str:
    """The level of a line: ERROR, WARNING, DEBUG or OTHER."""
    return next((name for name, pattern in _LEVELS if pattern.search(text)), OTHER)


def is_start_up_noise(stage: str, text: str) -> bool:
    """Whether a line of a host is one that JupyterLab writes at every start, or a debug line."""
    return stage == "host" and _SAID_AT_EVERY_START.match(text) is not None
