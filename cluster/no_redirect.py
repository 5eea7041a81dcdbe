"""Requests that carry a secret go where they are sent and nowhere else."""

from __future__ import annotations

import urllib.request


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Goes nowhere else: another host would get the token too."""

    def redirect_request(self, *_: object) -> None:
        """Nothing: the redirection is the answer."""
