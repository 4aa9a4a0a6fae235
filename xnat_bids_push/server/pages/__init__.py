"""Pages for people: what the archive holds, in a browser, for those who may see it.

The pages only read. They find objects by the functions that answer to programs, so both sides grant the same rights,
and they link to the addresses of that side for every download. The only forms are those for logging in and out.
"""

from __future__ import annotations

from .table import ROUTES

__all__ = ["ROUTES"]
