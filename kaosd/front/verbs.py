"""Which of the API's verbs are open to pages; what is not in these tables is only for the control socket."""

from __future__ import annotations

from typing import Final

READS: Final = frozenset({"history", "recovered", "edits", "diff", "environment", "logs"})
PAGE_ACTIONS: Final = frozenset(
    {"redeploy", "pause", "resume", "cancel", "rollback", "restore", "pull", "reset", "start", "restart", "add"}
)
CONSOLE_ACTIONS: Final = PAGE_ACTIONS | {"stop"}
STREAMED: Final = frozenset({"history", "recovered", "logs"})  # which can be followed: Accept: text/event-stream
