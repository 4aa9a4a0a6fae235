"""Where a push goes is what was said last and loudest; a password goes nowhere but where it belongs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xnat_bids_push.config import Settings, resolve
from xnat_bids_push.connecting import connect
from xnat_bids_push.errors import ConfigError

A, B, C = "https://a.org", "https://b.org", "http://127.0.0.1:8080"
NOTHING: dict[str, str] = {"NETRC": "/no/such/netrc"}


def env(**words: str) -> dict[str, str]:
    """An environment that has no netrc but the one that is given."""
    return NOTHING | words


def saved(path: Path, **words: object) -> Path:
    path.write_text(json.dumps(words))
    return path


@pytest.fixture
def netrc(tmp_path: Path) -> Callable[..., str]:
    """Writes a netrc; gives its path."""

    def write(*lines: str) -> str:
        path = tmp_path / "netrc"
        path.write_text("".join(f"{line}\n" for line in lines))
        return str(path)

    return write


def triple(found: Settings) -> tuple[str, str, str]:
    return found.server, found.user, found.password


def complaint(**words: object) -> str:
    """The message of a refusal, which holds no password anywhere."""
    with pytest.raises(ConfigError) as caught:
        resolve(**words)  # type: ignore[arg-type]  # each test gives the right ones
    error: BaseException | None = caught.value
    while error is not None:
        assert "secret" not in f"{error} {error!r}"
        error = error.__cause__
    return str(caught.value)


# ------------------------------------------------------------------ where to


def test_without_a_server_it_goes_to_the_local_archive(tmp_path: Path) -> None:
    found = resolve(environment=env(BIDS2XNAT_ARCHIVE=str(tmp_path)))

    assert found == Settings("", "", "", tmp_path)


def test_the_local_archive_is_in_the_user_s_data_folder_if_nothing_is_said() -> None:
    found = resolve(environment=env())

    assert found.server == ""
    assert found.archive.is_absolute()
    assert "bids2xnat" in str(found.archive)


def test_a_given_archive_beats_every_server_of_the_environment(tmp_path: Path) -> None:
    words = env(XNAT_HOST=A, XNATPY_HOST=B, XNAT_USER="a", XNAT_PASS="secret", BIDS2XNAT_ARCHIVE="/other")

    assert resolve(archive=tmp_path, environment=words) == Settings("", "", "", tmp_path)


def test_an_archive_s_path_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))

    assert resolve(archive=Path("here"), environment=env()).archive == tmp_path / "here"
    assert resolve(environment=env(BIDS2XNAT_ARCHIVE="~/there")).archive == tmp_path / "there"


def test_an_archive_and_a_server_cannot_be_had_together(tmp_path: Path) -> None:
    config = saved(tmp_path / "c", server=A)

    assert "--archive" in complaint(archive=tmp_path, server=A, environment=env())
    assert "--archive" in complaint(archive=tmp_path, config=config, environment=env())


# ------------------------------------------------------------------ who comes first


def test_flags_beat_the_config_file_which_beats_the_environment(tmp_path: Path) -> None:
    config = saved(tmp_path / "c", server=B, user="file", password="of file")
    words = env(XNAT_HOST=C, XNAT_USER="env", XNAT_PASS="of env")

    assert triple(resolve(environment=words)) == (C, "env", "of env")
    assert triple(resolve(config=config, environment=words)) == (B, "file", "of file")
    flagged = resolve(server=A, user="flag", config=config, environment=words, ask=lambda _, secret: "asked")
    assert triple(flagged) == (A, "flag", "asked")


def test_a_password_given_to_the_api_beats_all_others(tmp_path: Path, netrc: Callable[..., str]) -> None:
    config = saved(tmp_path / "c", server=A, user="u", password="of file")
    lines = netrc("machine b.org login n password of-netrc")
    words = {"NETRC": lines, "XNAT_PASS": "of env"}

    assert triple(resolve(config=config, password="given", environment=words)) == (A, "u", "given")
    assert triple(resolve(server=B, password="given", environment=words)) == (B, "n", "given")
    assert triple(resolve(server=C, user="u", password="given", environment=words)) == (C, "u", "given")


def test_xnatpy_s_own_words_beat_the_general_ones() -> None:
    words = env(XNAT_HOST=A, XNAT_USER="a", XNAT_PASS="pa", XNATPY_HOST=B, XNATPY_USER="b", XNATPY_PASS="pb")

    assert triple(resolve(environment=words)) == (B, "b", "pb")


def test_the_environment_beats_netrc_which_beats_a_question(netrc: Callable[..., str]) -> None:
    lines = netrc("machine a.org login n password of-netrc", "machine b.org login n password of-netrc")
    words = {"NETRC": lines, "XNAT_HOST": A, "XNAT_USER": "env", "XNAT_PASS": "of env"}

    assert triple(resolve(environment=words, ask=never)) == (A, "env", "of env")
    assert triple(resolve(server=B, environment=words, ask=never)) == (B, "n", "of-netrc")
    assert triple(resolve(server=C, environment=words, ask=lambda _, secret: f"asked {secret}")) == (
        *(C, "asked False", "asked True"),
    )


def never(question: str, secret: bool) -> str:
    raise AssertionError(question)


def test_what_one_place_lacks_comes_from_the_next(tmp_path: Path) -> None:
    config = saved(tmp_path / "c", server=A, user="u")

    assert triple(resolve(config=config, environment=env(XNAT_PASS="p"))) == (A, "u", "p")
    assert triple(resolve(server=A, environment=env(XNATPY_USER="u", XNAT_PASS="p"))) == (A, "u", "p")
    assert triple(resolve(user="u", environment=env(XNAT_HOST=A, XNAT_PASS="p"))) == (A, "u", "p")


def test_empty_words_of_the_environment_are_no_words() -> None:
    words = env(XNATPY_HOST="", XNATPY_USER="", XNATPY_PASS="", XNAT_HOST=A, XNAT_USER="u", XNAT_PASS="p")

    assert triple(resolve(environment=words)) == (A, "u", "p")


def test_a_slash_at_the_end_makes_no_other_server(tmp_path: Path) -> None:
    config = saved(tmp_path / "c", server=f"{A}/", user="u", password="p")

    assert triple(resolve(server=A, config=config, environment=env())) == (A, "u", "p")
    assert triple(resolve(server=f"{A}/", environment=env(XNAT_HOST=A, XNAT_USER="u", XNAT_PASS="p"))) == (A, "u", "p")


def test_only_what_is_missing_is_asked_for() -> None:
    asked: list[tuple[str, bool]] = []

    def ask(question: str, secret: bool) -> str:
        asked.append((question, secret))
        return "answer"

    assert triple(resolve(server=A, user="u", environment=env(), ask=ask)) == (A, "u", "answer")
    [(question, secret)] = asked
    assert secret
    assert A in question
    assert "u" in question


def test_without_anybody_to_ask_a_missing_word_is_an_error() -> None:
    assert "XNAT_USER" in complaint(server=A, environment=env())
    assert "XNAT_PASS" in complaint(server=A, user="u", environment=env())
    assert "password" in complaint(server=A, user="u", environment=env(), ask=lambda question, secret: "")


# ------------------------------------------------------------------ netrc


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (["machine 127.0.0.1:8080 login u password p", "machine 127.0.0.1 login v password q"], ("u", "p")),
        (["machine 127.0.0.1 login v password q"], ("v", "q")),
        (["machine 127.0.0.1 login v password q", "default login d password r"], ("v", "q")),
        (["machine other.org login v password q", "default login d password r"], ("d", "r")),
        (["machine 127.0.0.1:9090 login u password p"], ("asked", "asked")),
        (["machine 127.0.0.1 login u"], ("asked", "asked")),
        ([], ("asked", "asked")),
    ],
)
def test_netrc_is_asked_for_the_port_the_host_and_any_host(
    netrc: Callable[..., str], lines: Iterable[str], found: tuple[str, str]
) -> None:
    got = resolve(server=C, environment={"NETRC": netrc(*lines)}, ask=lambda question, secret: "asked")

    assert (got.user, got.password) == found


def test_netrc_gives_no_password_for_another_user(netrc: Callable[..., str]) -> None:
    words = {"NETRC": netrc("machine 127.0.0.1:8080 login u password p", "machine 127.0.0.1 login v password q")}

    assert triple(resolve(server=C, user="v", environment=words)) == (C, "v", "q")
    assert "password" in complaint(server=C, user="w", environment=words)


def test_netrc_at_home_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (".netrc", "_netrc"):
        (tmp_path / name).write_text("machine a.org login u password p\n")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)

    assert triple(resolve(server=A, environment={})) == (A, "u", "p")


@pytest.mark.parametrize("content", [b"machine a.org login u passwort secret", b"\xff\xfe secret", b"secret secret"])
def test_a_bad_netrc_is_an_error_that_does_not_quote_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "netrc"
    path.write_bytes(content)

    assert str(path) in complaint(server=A, environment={"NETRC": str(path)})


# ------------------------------------------------------------------ a password goes nowhere else

SERVERS = st.sampled_from(["", A, B, C])
USERS = st.sampled_from(["", "u", "v"])
PLACES = st.tuples(SERVERS, USERS, st.booleans())


@settings(deadline=None, max_examples=400)
@given(server=SERVERS, user=USERS, config=PLACES, xnatpy=PLACES, xnat=PLACES, netrc=PLACES)
def test_a_password_goes_only_to_the_server_and_the_user_it_was_saved_for(
    tmp_path_factory: pytest.TempPathFactory,
    server: str,
    user: str,
    config: tuple[str, str, bool],
    xnatpy: tuple[str, str, bool],
    xnat: tuple[str, str, bool],
    netrc: tuple[str, str, bool],
) -> None:
    """Whatever is given where; an empty server or user in a place means that it goes with any."""
    folder = tmp_path_factory.getbasetemp()
    places = {"config": config, "XNATPY": xnatpy, "XNAT": xnat, "netrc": netrc}
    words = env()
    for family in ("XNATPY", "XNAT"):
        host, login, has_password = places[family]
        words |= {f"{family}_HOST": host, f"{family}_USER": login, f"{family}_PASS": family if has_password else ""}
    host, login, has_password = netrc
    if host and login and has_password:
        (folder / "netrc").write_text(f"machine {host.partition('//')[2]} login {login} password netrc\n")
        words["NETRC"] = str(folder / "netrc")
    host, login, has_password = config
    file = saved(folder / "c", server=host, user=login, password="config" if has_password else "") if host else None

    found = resolve(server=server, user=user, config=file, environment=words, ask=lambda question, secret: "asked")

    if found.password not in {"", "asked"}:
        for_server, for_user, has_password = places[found.password]
        assert has_password
        assert for_server in {"", found.server}
        assert for_user in {"", found.user}
    assert found.server == (server or (config[0] if file else "") or xnatpy[0] or xnat[0])
    assert not user or found.user == (user if found.server else "")


def test_a_user_of_another_server_is_not_taken_either(netrc: Callable[..., str]) -> None:
    """Who has a login at A and asks for B is B's user of the netrc, not A's."""
    words = {"NETRC": netrc("machine b.org login nb password pb"), "XNAT_HOST": A, "XNAT_USER": "a", "XNAT_PASS": "pa"}

    assert triple(resolve(server=B, environment=words, ask=never)) == (B, "nb", "pb")


def test_two_servers_in_the_environment_do_not_share_a_password() -> None:
    words = env(XNATPY_HOST=A, XNAT_HOST=B, XNAT_USER="b", XNAT_PASS="secret")

    assert "no user is known" in complaint(environment=words)


def test_https_and_http_are_two_servers() -> None:
    words = env(XNAT_HOST="https://a.org", XNAT_USER="u", XNAT_PASS="secret")

    assert "no user is known" in complaint(server="http://a.org", environment=words)


# ------------------------------------------------------------------ nothing tells a password


@pytest.mark.parametrize(
    "address",
    [
        *(
            "https://u:secret@a.org",
            "https://secret@a.org",
            "http://:secret@a.org",
            "u:secret@a.org",
            "//u:secret@a.org",
        ),
        *("https://u:secret/x@a.org", "https://u:secret#x@a.org", "https://u:secret?x@a.org", "ftp://u:secret@a.org"),
        *("https://u:secret@[", "https://u:s@ecret@a.org"),
    ],
)
@pytest.mark.parametrize("place", ["flag", "environment", "file"])
def test_an_address_with_a_password_is_refused_and_not_quoted(tmp_path: Path, address: str, place: str) -> None:
    message = {
        "flag": lambda: complaint(server=address, environment=env()),
        "environment": lambda: complaint(environment=env(XNAT_HOST=address)),
        "file": lambda: complaint(config=saved(tmp_path / "c", server=address), environment=env()),
    }[place]()

    assert "holds a user or a password" in message
    assert "ecret" not in message


@pytest.mark.parametrize(
    "address", ["a.org", "ftp://a.org", "https://", "http://[", "https:/a.org", "file:///x", "-", " "]
)
def test_what_is_no_address_is_refused(address: str) -> None:
    assert "no server's address" in complaint(server=address, environment=env())


@pytest.mark.parametrize("address", ["https://u:secret@127.0.0.1:9", "u:secret@a.org", "http://u:secret@["])
def test_the_api_refuses_an_address_with_a_password_too(address: str) -> None:
    with (
        pytest.raises(ConfigError, match="holds a user or a password") as caught,
        connect(address, project="P", user="u", password="other"),
    ):
        pass

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{'server': 'https://a.org', 'password': 'secret'}",
        b'{"server": "https://a.org", "password": "secret"',
        b'{"password": "secret"}',
        b'{"server": 1, "password": "secret"}',
        b'{"server": "", "password": "secret"}',
        b'["secret"]',
        b'"secret"',
        b"\xff\xfesecret",
    ],
)
def test_a_bad_config_file_is_an_error_that_does_not_quote_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "c"
    path.write_bytes(content)

    assert str(path) in complaint(config=path, environment=env())


def test_a_config_file_that_is_not_there_or_a_folder_is_an_error(tmp_path: Path) -> None:
    assert "cannot be read" in complaint(config=tmp_path / "nowhere", environment=env())
    assert "cannot be read" in complaint(config=tmp_path, environment=env())


def test_settings_show_no_password() -> None:
    found = resolve(environment=env(XNAT_HOST=A, XNAT_USER="u", XNAT_PASS="secret"))

    assert found.password == "secret"
    assert "secret" not in f"{found} {found!r} {[found]}"
