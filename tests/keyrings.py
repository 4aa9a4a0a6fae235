"""A keyring for tests: what keyring calls a backend, with a file in the user's home behind it."""

from __future__ import annotations

import json
from pathlib import Path

from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked, PasswordDeleteError


class InAFile(KeyringBackend):
    """Keeps secrets in the clear, where a test can look."""

    priority = 1
    name = "a keyring for tests"

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # keyring annotates no constructors

    @staticmethod
    def file() -> Path:
        return Path.home() / "keyring.json"

    def known(self) -> dict[str, str]:
        return dict(json.loads(self.file().read_text())) if self.file().exists() else {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.known().get(f"{service} {username}")

    def set_password(self, service: str, username: str, password: str) -> None:
        self.file().write_text(json.dumps(self.known() | {f"{service} {username}": password}))

    def delete_password(self, service: str, username: str) -> None:
        left = self.known()
        if left.pop(f"{service} {username}", None) is None:
            raise PasswordDeleteError
        self.file().write_text(json.dumps(left))


class Locked(InAFile):
    """A keyring that stays locked, and says the secret in its error."""

    def get_password(self, service: str, username: str) -> str | None:
        raise KeyringLocked(f"planted {super().get_password(service, username)}")
