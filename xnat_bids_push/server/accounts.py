"""Accounts: users, their passwords, login sessions and alias tokens."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import sqlite3
import threading
import time
import uuid
from dataclasses import dataclass
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from .behaviour import Behaviour
from .database import Database

ADMIN: Final = "admin"
_LOGIN: Final = re.compile(r"[A-Za-z0-9_.@-]{1,64}")
_REMEMBER_SECONDS: Final = 60.0
_HASHER: Final = PasswordHasher(time_cost=2, memory_cost=8192, parallelism=1)


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who is logged in, or a guest who is not."""

    login: str
    admin: bool = False

    @property
    def guest(self) -> bool:
        """Whether nobody is logged in."""
        return not self.login


GUEST: Final = User("")


@dataclass(frozen=True, slots=True)
class Profile:
    """What the archive knows of a user."""

    login: str
    firstname: str
    lastname: str
    email: str
    enabled: bool = True
    admin: bool = False


class Accounts:
    """Checks passwords slowly once and quickly afterwards; sessions live in memory, as long as the process does."""

    def __init__(self, database: Database, behaviour: Behaviour) -> None:
        self._database = database
        self._behaviour = behaviour
        self._guard = threading.Lock()
        self._secret = secrets.token_bytes(32)
        self._known: dict[bytes, tuple[User, float]] = {}
        self._sessions: dict[str, tuple[User, float]] = {}
        self._nobody = _HASHER.hash(secrets.token_hex(16))

    # Users

    def ensure_admin(self, password: str) -> None:
        """See to it that the administrator exists and has this password."""
        with self._database.read() as db:
            row = db.execute("SELECT password FROM user WHERE login = ?", (ADMIN,)).fetchone()
        if row is None:
            self.create(Profile(ADMIN, "Site", "Administrator", "admin@localhost", admin=True), password)
        elif not _matches(row["password"], password):
            self.set_password(ADMIN, password)

    def create(self, profile: Profile, password: str) -> bool:
        """Add a user; False if the login is taken or not possible."""
        if not _LOGIN.fullmatch(profile.login) or not password:
            return False
        hashed = _HASHER.hash(password)
        try:
            with self._database.write() as db:
                db.execute(
                    "INSERT INTO user (login, password, firstname, lastname, email, enabled, admin) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (
                        profile.login,
                        hashed,
                        profile.firstname,
                        profile.lastname,
                        profile.email,
                        profile.enabled,
                        profile.admin,
                    ),
                )
        except sqlite3.IntegrityError:
            return False
        return True

    def update(self, profile: Profile) -> None:
        """Change what is known of a user."""
        with self._database.write() as db:
            db.execute(
                "UPDATE user SET firstname = ?, lastname = ?, email = ?, enabled = ? WHERE login = ?",
                (profile.firstname, profile.lastname, profile.email, profile.enabled, profile.login),
            )
        self._forget(profile.login)

    def set_password(self, login: str, password: str) -> None:
        """Change a password and end the sessions of that user."""
        hashed = _HASHER.hash(password)
        with self._database.write() as db:
            db.execute("UPDATE user SET password = ?, failures = 0, locked_until = 0 WHERE login = ?", (hashed, login))
        self._forget(login)

    def profiles(self) -> list[Profile]:
        """All users, by login."""
        with self._database.read() as db:
            return [_profile(row) for row in db.execute("SELECT * FROM user ORDER BY login")]

    def profile(self, login: str) -> Profile | None:
        """One user."""
        with self._database.read() as db:
            row = db.execute("SELECT * FROM user WHERE login = ?", (login,)).fetchone()
        return _profile(row) if row else None

    # Passwords

    def recalled(self, login: str, password: str) -> User | None:
        """The user, if this password was found right a moment ago; quick."""
        with self._guard:
            user, until = self._known.get(self._key(login, password), (GUEST, 0.0))
        return user if until > time.monotonic() else None

    def verify(self, login: str, password: str) -> User | None:
        """The user with this password or alias token; slow on purpose."""
        user = self._by_password(login, password) or self._by_token(login, password)
        if user is not None:
            with self._guard:
                if len(self._known) > 1000:
                    self._known.clear()
                self._known[self._key(login, password)] = (user, time.monotonic() + _REMEMBER_SECONDS)
        return user

    def _key(self, login: str, password: str) -> bytes:
        return hmac.digest(self._secret, f"{login}\0{password}".encode(), "sha256")

    def _by_password(self, login: str, password: str) -> User | None:
        with self._database.read() as db:
            row = db.execute("SELECT * FROM user WHERE login = ?", (login,)).fetchone()
        right = _matches(row["password"] if row else self._nobody, password)
        if row is None or not row["enabled"] or row["locked_until"] > time.time():
            return None
        if not right:
            self._count_failure(login, row["failures"] + 1)
            return None
        if row["failures"]:
            with self._database.write() as db:
                db.execute("UPDATE user SET failures = 0 WHERE login = ?", (login,))
        return User(row["login"], bool(row["admin"]))

    def _count_failure(self, login: str, failures: int) -> None:
        locked = failures >= self._behaviour.failed_logins
        until = time.time() + self._behaviour.lock_seconds if locked else 0.0
        with self._database.write() as db:
            db.execute(
                "UPDATE user SET failures = ?, locked_until = ? WHERE login = ?",
                (0 if locked else failures, until, login),
            )

    # Sessions

    def open_session(self, user: User) -> str:
        """A new session; its name is a secret."""
        name = secrets.token_hex(16).upper()
        with self._guard:
            self._drop_idle()
            self._sessions[name] = (user, time.monotonic())
        return name

    def session_user(self, name: str) -> User | None:
        """Who is logged in by a session; asking keeps it alive."""
        moment = time.monotonic()
        with self._guard:
            user, used = self._sessions.get(name, (None, 0.0))
            if user is None:
                return None
            if moment - used > self._behaviour.session_seconds:
                del self._sessions[name]
                return None
            self._sessions[name] = (user, moment)
        return user

    def close_session(self, name: str) -> None:
        """Log out."""
        with self._guard:
            self._sessions.pop(name, None)

    def _drop_idle(self) -> None:
        if len(self._sessions) < 1000:
            return
        oldest = time.monotonic() - self._behaviour.session_seconds
        self._sessions = {name: known for name, known in self._sessions.items() if known[1] > oldest}

    def _forget(self, login: str) -> None:
        with self._guard:
            self._known.clear()
            self._sessions = {name: known for name, known in self._sessions.items() if known[0].login != login}

    # Alias tokens

    def issue_token(self, login: str) -> tuple[str, str, float]:
        """A new alias and its secret, good for logging in as this user until the given time."""
        alias, secret = str(uuid.uuid4()), secrets.token_urlsafe(48)
        expires = time.time() + self._behaviour.token_seconds
        with self._database.write() as db:
            db.execute("INSERT INTO token VALUES (?, ?, ?, ?)", (alias, _digest(secret), login, expires))
        return alias, secret, expires

    def token_user(self, alias: str, secret: str) -> str | None:
        """Whose token this is, if it is valid."""
        with self._database.read() as db:
            row = db.execute("SELECT * FROM token WHERE alias = ?", (alias,)).fetchone()
        if row is None or row["expires"] < time.time() or not hmac.compare_digest(row["secret"], _digest(secret)):
            return None
        return str(row["login"])

    def token_owner(self, alias: str) -> str | None:
        """Who owns a token that has not expired, whatever its secret is."""
        with self._database.read() as db:
            row = db.execute("SELECT login FROM token WHERE alias = ? AND expires > ?", (alias, time.time())).fetchone()
        return str(row["login"]) if row else None

    def invalidate_token(self, alias: str) -> None:
        """Make a token invalid."""
        with self._database.write() as db:
            db.execute("DELETE FROM token WHERE alias = ?", (alias,))
        with self._guard:
            self._known.clear()

    def _by_token(self, alias: str, secret: str) -> User | None:
        if len(alias) != 36:
            return None
        login = self.token_user(alias, secret)
        profile = self.profile(login) if login else None
        return User(profile.login, profile.admin) if profile and profile.enabled else None


def _matches(hashed: str, password: str) -> bool:
    try:
        return _HASHER.verify(hashed, password)
    except (VerificationError, InvalidHashError):
        return False


def _digest(secret: str) -> str:
    # A token is 48 random bytes: a plain digest keeps it as safe as a slow one would.
    return hashlib.sha256(secret.encode()).hexdigest()


def _profile(row: sqlite3.Row) -> Profile:
    return Profile(
        row["login"], row["firstname"], row["lastname"], row["email"], bool(row["enabled"]), bool(row["admin"])
    )
