"""The site: an archive folder that is open, with everything that its handlers share."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

from . import schema
from .accounts import Accounts
from .behaviour import Behaviour
from .database import Database
from .files import Files

PASSWORD_FILE: Final = "admin-password"  # noqa: S105 - the name of a file
PASSWORD_VARIABLE: Final = "BIDS2XNAT_SERVE_PASSWORD"  # noqa: S105 - the name of a variable


class Site:
    """One archive folder, opened by this process."""

    def __init__(
        self,
        folder: Path,
        *,
        registered: schema.Registered = "all",
        behaviour: Behaviour | None = None,
        admin_password: str | None = None,
    ) -> None:
        self.folder = folder.resolve()
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.behaviour = behaviour or Behaviour()
        self.registered = schema.registered_types(registered)
        self.database = Database(self.folder / "archive.sqlite3")
        self.files = Files(self.folder, self.database)
        self.accounts = Accounts(self.database, self.behaviour)
        self.admin_password = admin_password or os.environ.get(PASSWORD_VARIABLE) or self._kept_password()
        self.accounts.ensure_admin(self.admin_password)

    def close(self) -> None:
        """Release the folder."""
        self.files.close()
        self.database.close()

    def _kept_password(self) -> str:
        """The password that was made at the first start."""
        path = self.folder / PASSWORD_FILE
        candidate = path.with_name(f"{PASSWORD_FILE}.{secrets.token_hex(4)}")
        handle = os.open(candidate, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_urlsafe(16) + "\n")
        try:
            os.link(candidate, path)
        except FileExistsError:
            pass  # made earlier, or by another process at this moment
        finally:
            candidate.unlink()
        return path.read_text().strip()
