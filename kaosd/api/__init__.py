"""The control socket: HTTP/1.1 with JSON for kaosctl, curl and whoever is the same user.

request_table is what can be asked; control_socket runs it; listener owns the socket's path; connection bounds what
one client may cost; request_checks checks what comes in; problems says what went wrong (RFC 9457).
"""

from kaosd.api.connection import Limits
from kaosd.api.control_socket import Api
from kaosd.api.request_table import ROUTES

__all__ = ["ROUTES", "Api", "Limits"]
