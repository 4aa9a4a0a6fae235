"""What can be switched about the archive's behaviour, and the limits it keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

MAX_ENTRIES: Final = 1_000_000
"""An uploaded archive may have this many members."""
MAX_UNPACKED: Final = 4 * 1024**4
"""An uploaded archive may unpack to this many bytes."""
MAX_RATIO: Final = 2000
"""Beyond ``RATIO_FROM`` bytes, members may unpack to this many times their packed size (deflate cannot exceed 1032)."""
RATIO_FROM: Final = 1024**3
MAX_BODY: Final = 1024**4
"""A request may have a body of this many bytes."""
MAX_DOCUMENT: Final = 64 * 1024**2
"""XML documents, catalogs and forms may have this many bytes."""
MAX_GUEST_BODY: Final = 64 * 1024
"""So much may be sent by somebody who is not logged in."""
MAX_REQUEST_LINE: Final = 8192
"""The servlet container refuses longer request lines."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Switches for what depends on time or chance in a real XNAT; the defaults are deterministic."""

    catalog_conflicts: Literal["never", "overlapping"] = "never"
    """Requests that write one catalog at the same time: one after the other, or all but the first fail with 500 and
    leave their files unlisted on the disk."""
    checksums: Literal["always", "asked", "never"] = "always"
    """Digests of files are computed when files come, or only by a refresh that asks for them (as a site does whose
    setting of that name is off), or not at all."""
    session_seconds: int = 900
    """A login session ends after this many idle seconds."""
    token_seconds: int = 2 * 24 * 3600
    """An alias token is valid for this long."""
    failed_logins: int = 20
    """An account is locked after this many wrong passwords in a row."""
    lock_seconds: int = 3600
    """A locked account opens again after this many seconds."""
    longest_list: int = 2247
    """A comma list of experiments that is longer answers with all experiments instead."""
