"""Addresses that work for a while: a page signs what it shows, a route answers nothing that is not signed."""

import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode

from curation.errors import CurationError

# A page left open longer asks the server for new addresses by itself.
VALID_S = 900
# Addresses of one step are equal, so that a browser that was given one twice finds the volume in its cache.
STEP_S = 300
_UNTIL, _SIGNATURE = "until", "signature"
# Of this process alone: it is never sent or written, and what another server signed is refused.
_KEY = secrets.token_bytes(32)


class AddressError(CurationError):
    """An address that no page of this server made, or that has run out."""


def signed(path: str, about: Mapping[str, str], now: float | None = None) -> str:
    """An address of a route that works from now on for 15 to 20 minutes.

    Args:
        path: Of the route, from ``/`` on.
        about: What the route is to know besides; part of what is signed.
        now: Seconds since 1970; None: the present.
    """
    at = time.time() if now is None else now
    until = (int(at) // STEP_S + 1) * STEP_S + VALID_S
    query = urlencode({**about, _UNTIL: str(until)})
    return f"{path}?{query}&{_SIGNATURE}={_signature(path, query)}"


def opened(path: str, query: str, now: float | None = None) -> dict[str, str]:
    """What a signed address is about.

    Args:
        path: As it was asked for.
        query: What stands behind its question mark, as it was asked for.
        now: Seconds since 1970; None: the present.

    Raises:
        AddressError: Not signed here, changed since, or run out.
    """
    known, _, given = query.rpartition(f"&{_SIGNATURE}=")
    # As bytes: a signature with other letters than ours is wrong, not an error of the comparison.
    if not hmac.compare_digest(given.encode(), _signature(path, known).encode()):
        raise AddressError("This address was not made by a page of this server; open the case's page again.")
    about = dict(parse_qsl(known, keep_blank_values=True))
    if int(about.pop(_UNTIL)) < (time.time() if now is None else now):
        raise AddressError("This address has run out; load the case's page again.")
    return about


def _signature(path: str, query: str) -> str:
    return hmac.new(_KEY, f"{path}?{query}".encode(), hashlib.sha256).hexdigest()
