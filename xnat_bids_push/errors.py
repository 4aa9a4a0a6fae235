"""What can go wrong, as types.

::

    XnatBidsError
    ├── DatasetError        the folder cannot be pushed as it is (carries its Issues)
    ├── MappingError        an invalid mapping table, or two files at one address
    ├── ConfigError         no usable server, credentials or options
    └── ArchiveError        the server said no (method, path, status; never credentials)
        ├── AccessDenied    403, or 401 after one renewed login       permanent
        ├── Rejected        other 4xx, and the 500s that mean 4xx     permanent
        ├── Unavailable     5xx, timeouts, resets, cut answers        transient
        └── Distressed      the same again and again: the run ends    transient

Transient or permanent is the type, decided once, in :mod:`xnat_bids_push.client`. A file that arrives with another
digest is no exception but a finding: the next plan sees it, and sends it again.
"""

from collections.abc import Iterable

from xnat_bids_push.model import Issue


class XnatBidsError(Exception):
    """Anything this package raises on purpose."""


class DatasetError(XnatBidsError):
    """The dataset cannot be pushed as it is; `issues` says why, all at once."""

    def __init__(self, issues: Iterable[Issue]) -> None:
        self.issues = tuple(issues)
        super().__init__("\n".join(str(issue) for issue in self.issues))


class MappingError(XnatBidsError):
    """The mapping table is invalid, or gives two files one address."""


class ConfigError(XnatBidsError):
    """The settings do not say where to push to, or as whom."""


class ArchiveError(XnatBidsError):
    """The server did not do what was asked.

    Args:
        message: what happened, and what the user can do.
        method: the HTTP method, or "".
        path: the path of the request, without server and credentials.
        status: the HTTP status, or 0 where there was no answer.

    Attributes:
        cause: what happened, without where: what errors of one cause have in common.
    """

    def __init__(self, message: str, *, method: str = "", path: str = "", status: int = 0) -> None:
        self.method, self.path, self.status = method, path, status
        self.cause = f"{message} ({status})" if status else message
        request = f" ({method} {path}" + (f" → {status}" if status else "") + ")" if method else ""
        super().__init__(message + request)


class AccessDenied(ArchiveError):
    """The server knows the user, and refuses; or does not know the user."""


class Rejected(ArchiveError):
    """The server refuses the request itself; sending it again changes nothing."""


class Unavailable(ArchiveError):
    """The server could not be reached, or failed; it may work later.

    Args:
        message: as for all errors of the archive.
        method: the HTTP method, or "".
        path: the path of the request.
        status: the HTTP status, or 0 where there was no answer.
        retry_after: seconds that the server asks to be left alone; 0 if it does not say.
    """

    def __init__(
        self, message: str, *, method: str = "", path: str = "", status: int = 0, retry_after: float = 0.0
    ) -> None:
        super().__init__(message, method=method, path=path, status=status)
        self.retry_after = retry_after

    @property
    def is_distress(self) -> bool:
        """Whether this tells of the server as a whole; a plain 500 is more often about what was asked."""
        return self.status != 500


class Distressed(ArchiveError):
    """The server could not be reached, or failed, again and again, also after pauses: there is no going on now."""
