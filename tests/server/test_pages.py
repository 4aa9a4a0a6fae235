"""The pages for people: who sees what, that nothing hostile gets through, and that everybody can use them."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from urllib.parse import urljoin

import pytest
import requests
from lxml import html

from xnat_bids_push.server import LocalServer, records
from xnat_bids_push.server.account_pages import session_cookie
from xnat_bids_push.server.accounts import GUEST
from xnat_bids_push.server.items import Item
from xnat_bids_push.server.records import Experiment
from xnat_bids_push.server.web import Body, Call

from .conftest import PASSWORD, ROLES, Client, World, make_tar, make_world

VOID = {"br", "img", "input", "link", "meta"}
POLICY = (
    "default-src 'none'; style-src 'self' 'unsafe-inline'; img-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
LOGIN = "/app/template/Login.vm"
PROJECT = "/app/projects/{P}"
SESSION = f"{PROJECT}/experiments/ses-01"
SCAN = f"{SESSION}/scans/1"
ALL_PAGES = (
    "/app/",
    PROJECT,
    f"{PROJECT}/subjects",
    f"{PROJECT}/resources",
    f"{PROJECT}/subjects/sub-01",
    SESSION,
    SCAN,
)
HOSTILE = (
    "<script>alert(1)</script>.txt",
    "\"'onload=x.html",
    "a\u202egnp.exe",
    "new\nline.txt",
    "50%.txt",
    "semi;colon.txt",
    "back\\slash.txt",
    "a b.txt",
    "a%20b.txt",
    "a+b&c=d?e#f.txt",
    "ké/日本.txt",
    "k%C3%A9.txt",
)
PICTURE = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00,"


class _Balance(HTMLParser):
    """Tells whether every element is closed where it should be, and has each attribute once."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.faults: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if len({name for name, _ in attrs}) != len(attrs):
            self.faults.append(f"attributes of {tag}")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> at {self.getpos()}")


def parsed(answer: requests.Response) -> html.HtmlElement:
    """A page, after a look at whether it is a sound and usable one."""
    assert answer.headers["Content-Type"] == "text/html;charset=UTF-8"
    assert answer.headers["Content-Security-Policy"] == POLICY
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cache-Control"] == "no-store"
    text = answer.content.decode()
    assert text.startswith("<!doctype html>")
    balance = _Balance()
    balance.feed(text)
    balance.close()
    assert (balance.faults, balance.open) == ([], [])
    page = html.document_fromstring(text)
    _check_usable(page)
    return page


def _check_usable(page: html.HtmlElement) -> None:
    assert page.get("lang") == "en"
    assert page.xpath("//meta[@name='viewport']")
    assert page.xpath("string(//title)").strip()
    for once in ("h1", "main", "header", "footer"):
        assert len(page.xpath(f"//{once}")) == 1, once
    assert page.xpath("//body/a[1]/@href") == ["#main"]
    assert page.xpath("//main/@id") == ["main"]
    assert not page.xpath("//script | //@onload | //@onclick | //@onerror")
    assert not page.xpath("//img[not(@alt)] | //th[not(@scope)] | //nav[not(@aria-label)] | //table[not(caption)]")
    ids = page.xpath("//@id")
    assert len(set(ids)) == len(ids)
    labelled = set(page.xpath("//label/@for"))
    assert set(page.xpath("//input[not(@type='hidden')]/@id")) == labelled
    assert len(page.xpath("//input[not(@type='hidden')]")) == len(labelled)
    levels = [int(one.tag[1]) for one in page.xpath("//h1 | //h2 | //h3")]
    assert all(after - before <= 1 for before, after in pairwise(levels))


def shown(page: html.HtmlElement) -> str:
    """What people read on a page."""
    return " ".join(page.xpath("string(//body)").split())


def sign_in(url: str, login: str, password: str, onward: str = "") -> tuple[requests.Session, requests.Response]:
    """A browser that has sent the login form."""
    browser = requests.Session()
    browser.trust_env = False
    page = parsed(browser.get(url + LOGIN, params={"next": onward}))
    form = dict(page.forms[0].form_values()) | {"username": login, "password": password}
    answer = browser.post(urljoin(url, page.forms[0].action), data=form, allow_redirects=False)
    return browser, answer


@pytest.fixture
def rich(world: World) -> World:
    """The project of the test with files at every level, a preview, and fields that somebody hostile has filled in."""
    world.upload("x.tar", make_tar({name: name.encode() for name in HOSTILE}), extract="true")
    world.owner("PUT", "/data/projects/{P}/resources/BIDS/files/README", b"r", inbody="true")
    world.owner("PUT", "/data/projects/{P}/subjects/sub-01/resources/BIDS/files/s.json", b"{}", inbody="true")
    world.owner("PUT", f"/data/experiments/{world.session}/resources/BIDS/files/e.json", b"{}", inbody="true")
    for name in ("ORIGINAL", "THUMBNAIL"):
        address = f"{world.scan}/resources/SNAPSHOTS/files/{name}.gif"
        world.owner("PUT", address, PICTURE, inbody="true", content=name)
    note = "<img src=x onerror=alert(1)>\n\u202e\"'&"
    world.owner("PUT", world.scan, note=note, series_description="</td><script>")
    world.owner("PUT", f"/data/experiments/{world.session}", note=note)
    # A scan whose type is the ID of another must not be mixed up with it.
    world.owner("PUT", f"/data/experiments/{world.session}/scans/2", type="1", xsiType="xnat:mrScanData")
    world.owner("PUT", f"/data/experiments/{world.session}/scans/2/resources/NIFTI/files/2.nii", b"2", inbody="true")
    return world


def _home(world: World) -> str:
    """The part of the list of projects that shows the project of the test, among those of other tests."""
    parts = (f"/app/?page={number}" for number in range(1, 50))
    link = f'"/app/projects/{world.project}"'
    return next(part for part in parts if link in world.owner("GET", part).text)


# Coming and going


def _listed_projects(get: Callable[[str], requests.Response]) -> set[str]:
    """The words on all pages of the list of projects."""
    words: set[str] = set()
    address = "/app/"
    while address:
        page = parsed(get(address))
        words |= set(shown(page).split())
        onward = page.xpath("(//nav[@class='pages'])[1]/a[@rel='next']/@href")
        address = urljoin("/app/", onward[0]) if onward else ""
    return words


def test_a_browser_ends_at_the_login_page_or_at_the_projects(world: World) -> None:
    with requests.Session() as browser:
        browser.trust_env = False
        front = browser.get(world.server.url)
    assert front.url.endswith(LOGIN)
    assert "Log in" in shown(parsed(front))

    browser, answer = sign_in(world.server.url, "owner", PASSWORD)
    with browser:
        assert (answer.status_code, answer.headers["Location"]) == (303, "/app/")
        page = parsed(browser.get(world.server.url))
        listed = _listed_projects(lambda path: browser.get(world.server.url + path))
    assert page.xpath("string(//h1)") == "Projects"
    assert world.project in listed


def test_the_session_is_kept_in_a_careful_cookie_and_ends(world: World) -> None:
    browser, answer = sign_in(world.server.url, "owner", PASSWORD)
    with browser:
        cookie = next(one for one in answer.raw.headers.getlist("Set-Cookie") if one.startswith("JSESSIONID="))
        assert "HttpOnly" in cookie
        assert "SameSite=Lax" in cookie
        name = browser.cookies["JSESSIONID"]

        gone = browser.post(f"{world.server.url}/app/logout", allow_redirects=False)

        assert gone.headers["Location"] == LOGIN
        stale = requests.get(f"{world.server.url}/app/", cookies={"JSESSIONID": name}, allow_redirects=False)
        assert stale.status_code == 303


def test_a_wrong_password_says_so_and_nothing_more(world: World) -> None:
    answers = [sign_in(world.server.url, login, "wrong") for login in ("owner", "nobody")]
    texts = [shown(parsed(answer)) for _, answer in answers]
    for browser, answer in answers:
        browser.close()
        assert answer.status_code == 401
        assert "JSESSIONID" not in answer.headers.get("Set-Cookie", "")
    assert texts[0] == texts[1]


def test_a_login_form_of_another_site_is_refused(world: World) -> None:
    form = {"username": "owner", "password": PASSWORD, "mark": "0" * 32}

    with requests.Session() as browser:
        browser.trust_env = False
        for cookies in ({}, {"LOGIN_FORM": "1" * 32}, {"LOGIN_FORM": ""}):
            answer = browser.post(f"{world.server.url}/app/login", data=form, cookies=cookies)
            assert answer.status_code == 403
            assert "JSESSIONID" not in answer.headers["Set-Cookie"]
        bare = browser.post(f"{world.server.url}/app/login", data={**form, "mark": ""})
        assert bare.status_code == 403


def test_the_login_leads_to_the_page_that_was_asked_for(world: World) -> None:
    asked = world.anonymous("GET", f"{PROJECT}?page=2&find=a")
    assert asked.status_code == 303
    onward = requests.compat.unquote(asked.headers["Location"].partition("next=")[2])

    browser, answer = sign_in(world.server.url, "owner", PASSWORD, onward)
    browser.close()

    assert answer.headers["Location"] == f"/app/projects/{world.project}?page=2&find=a"


@pytest.mark.parametrize(
    "onward",
    [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "/app/\\evil",
        "/app/\r\nX: y",
        "/data/projects",
        "/app/logout",
    ],
)
def test_the_login_leads_nowhere_else(world: World, onward: str) -> None:
    browser, answer = sign_in(world.server.url, "owner", PASSWORD, onward)
    browser.close()

    assert answer.headers["Location"] == "/app/"
    assert "X" not in answer.headers


# Rights


@pytest.mark.parametrize("accessibility", ["private", "protected", "public"])
def test_pages_show_what_the_programs_side_shows(server: LocalServer, accessibility: str) -> None:
    world = make_world(server, accessibility)
    world.owner("PUT", "/data/projects/{P}/resources/BIDS/files/README", b"r", inbody="true")
    outside = {"private": (404, 404), "protected": (200, 404), "public": (200, 200)}[accessibility]

    for person in (*ROLES, "admin"):
        around, inside = outside if person == "stranger" else (200, 200)
        for path in (PROJECT, f"{PROJECT}/subjects", f"{PROJECT}/resources"):
            assert world.clients[person]("GET", path).status_code == around, (person, path)
        for path in (f"{PROJECT}/subjects/sub-01", SESSION, SCAN, f"{PROJECT}/experiments/{world.session}"):
            assert world.clients[person]("GET", path).status_code == inside, (person, path)
        listed = _listed_projects(partial(world.clients[person], "GET"))
        assert (world.project in listed) is (around == 200)
        if around == 200:
            assert ("ses-01" in world.clients[person]("GET", PROJECT).text) is (inside == 200)
            assert ("sub-01" in world.clients[person]("GET", f"{PROJECT}/subjects").text) is (inside == 200)
    for client in world.clients.values():
        client.close()


@pytest.mark.parametrize("path", ALL_PAGES)
def test_nothing_is_told_to_those_who_are_not_logged_in(world: World, path: str) -> None:
    answer = world.anonymous("GET", path)

    assert answer.status_code == 303
    assert answer.headers["Location"].startswith(f"{LOGIN}?next=/app/")
    assert answer.content == b""


@pytest.mark.parametrize("path", ALL_PAGES[1:])
def test_a_private_project_looks_like_none(world: World, path: str) -> None:
    hidden = world.stranger("GET", path)
    none = world.stranger("GET", path.replace("{P}", "NO_SUCH_PROJECT"))

    assert (hidden.status_code, none.status_code) == (404, 404)
    assert hidden.content == none.content
    parsed(hidden)


def test_a_resource_has_a_page_only_where_it_belongs(rich: World) -> None:
    key = rich.owner.rows("/data/projects/{P}/resources")[0]["xnat_abstractresource_id"]

    assert rich.owner("GET", f"{PROJECT}/resources/{key}").status_code == 200
    assert rich.owner("GET", f"{SESSION}/resources/{key}").status_code == 404
    assert rich.owner("GET", f"{PROJECT}/subjects/sub-01/resources/{key}").status_code == 404
    assert rich.stranger("GET", f"{PROJECT}/resources/{key}").status_code == 404


def test_a_shared_session_is_shown_under_its_other_name(world: World) -> None:
    other = f"{world.project}x"
    world.stranger("PUT", f"/data/projects/{other}")
    world.owner("PUT", f"/data/projects/{other}")
    world.admin("PUT", f"/data/experiments/{world.session}/projects/{other}", label="guest")
    world.upload("a.txt")

    listed = shown(parsed(world.stranger("GET", f"/app/projects/{other}")))
    page = parsed(world.stranger("GET", f"/app/projects/{other}/experiments/guest"))

    assert "guest" in listed
    assert "sub-01" not in listed + shown(page)
    assert world.project not in page.xpath("//main//@href")
    for address in page.xpath("//main//@href"):
        assert world.stranger("GET", address).status_code == 200, address
    assert world.stranger("GET", SESSION).status_code == 404


@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST"])
@pytest.mark.parametrize("path", ALL_PAGES)
def test_pages_only_read(world: World, method: str, path: str) -> None:
    assert world.owner(method, path).status_code == 405


def test_a_session_of_tls_is_not_sent_without(world: World) -> None:
    for scheme, secure in (("http", False), ("https", True)):
        call = Call(world.server.site, "GET", "/", "", {}, GUEST, Body(), base_url=f"{scheme}://x")
        assert all(("Secure" in text) is secure for _, text in session_cookie(call, "x"))


def test_what_listings_leave_out_is_neither_listed_nor_counted(world: World) -> None:
    """Sessions of types that are not registered."""
    made = "/data/projects/{P}/subjects/sub-01/experiments/eeg-01"
    assert world.admin("PUT", made, xsiType="xnat:eegSessionData").status_code == 201

    assert "eeg-01" not in world.admin("GET", PROJECT).text
    assert "eeg-01" not in world.admin("GET", f"{PROJECT}/subjects/sub-01").text
    [row] = parsed(world.owner("GET", f"{PROJECT}/subjects")).xpath("//tbody/tr")
    assert row.xpath("string(td[@data-of='Sessions'])") == "1"
    found = parsed(world.owner("GET", _home(world)))
    [row] = found.xpath(f"//tbody/tr[th/a[@href='/app/projects/{world.project}']]")
    assert row.xpath("string(td[@data-of='Sessions'])") == "1"


# What is shown


def test_every_link_leads_somewhere(rich: World) -> None:
    waiting = [_home(rich)]
    seen = dict.fromkeys(waiting)
    mine = (f"/app/projects/{rich.project}", f"/data/projects/{rich.project}/", f"/data/experiments/{rich.session}")
    while waiting:
        address = waiting.pop()
        answer = rich.owner("GET", address)
        assert answer.status_code == 200, address
        if address.startswith("/data/"):
            continue
        page = parsed(answer)
        for found in page.xpath("//a/@href | //img/@src"):
            link = urljoin(address, found).partition("#")[0]
            if link not in seen and (link.startswith(mine)):
                seen[link] = None
                waiting.append(link)

    assert len([link for link in seen if "format=zip" in link]) == 8
    assert len([link for link in seen if link.startswith("/app/")]) > len(ALL_PAGES)


def test_every_file_is_fetched_by_its_own_link(rich: World) -> None:
    page = parsed(rich.owner("GET", SCAN))
    links = page.xpath("//section[h3//text()='NIFTI']//tbody//a/@href")

    answers = [rich.owner("GET", link) for link in links]

    assert sorted(answer.content.decode() for answer in answers) == sorted(HOSTILE)
    for answer in answers:
        assert answer.headers["Content-Disposition"].startswith("attachment")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_scan_is_fetched_without_others(rich: World) -> None:
    page = parsed(rich.owner("GET", f"{SESSION}/scans/2"))
    [archive] = set(page.xpath("//a[contains(@href, 'format=zip')]/@href"))

    with zipfile.ZipFile(io.BytesIO(rich.owner("GET", archive).content)) as fetched:
        assert [name.rsplit("/", 1)[-1] for name in fetched.namelist()] == ["2.nii"]


def test_hostile_texts_stay_texts(rich: World) -> None:
    for path in (SESSION, SCAN):
        answer = rich.owner("GET", path)
        page = parsed(answer)
        assert "<script" not in answer.text
        assert "\u202e" not in answer.text
        assert "<img src=x onerror=alert(1)>" in shown(page)
    assert "a‹U+202E›gnp.exe" in shown(page)
    assert "new‹U+000A›line.txt" in shown(page)


def test_a_scan_shows_its_fields_previews_and_files(rich: World) -> None:
    page = parsed(rich.owner("GET", SCAN))

    assert page.xpath("string(//dl/div[dt='Type']/dd)") == "T1w"
    [picture] = page.xpath("//figure//img/@src")
    assert rich.owner("GET", picture).content == PICTURE
    [row] = page.xpath("//tr[contains(., 'a%20b.txt')]")
    assert "9 B" in row.text_content()
    assert len(row.xpath("string(.//code)")) == 32


def test_a_session_shows_its_scans(rich: World) -> None:
    page = parsed(rich.owner("GET", SESSION))

    row, _ = page.xpath("//table[caption='Scans']/tbody/tr")
    assert row.xpath("string(th)").strip() == "1"
    assert row.xpath("string(td[1])") == "T1w"
    assert row.xpath("th//img/@alt") == [""]
    assert page.xpath("string(//dl/div[dt='Date']/dd)") == "2020-01-02"


def test_colours_have_contrast() -> None:
    style = Path(records.__file__).with_name("pages") / "templates" / "style.css"
    light, dark = (dict(re.findall(r"--([\w-]+): (#\w{6})", part)) for part in style.read_text().split("@media")[:2])
    for colours in (light, dark):
        for front in ("text", "quiet", "link", "bad"):
            assert _contrast(colours[front], colours["page"]) >= 4.5
            assert _contrast(colours[front], colours["soft"]) >= 4.5
        assert _contrast(colours["on-strong"], colours["strong"]) >= 4.5


def _contrast(one: str, other: str) -> float:
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return float(0.2126 * red + 0.7152 * green + 0.0722 * blue)


# Long lists


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A project of 1,200 sessions of 400 subjects, and a resource of 1,200 files."""
    with (
        LocalServer(tmp_path_factory.mktemp("crowded")) as server,
        Client(server.url, (server.user, server.password), "BIG") as client,
    ):
        client("PUT", "/data/projects/BIG")
        with server.site.database.write() as db:
            for number in range(400):
                item = Item("xnat:subjectData")
                records.save_subject(
                    db, records.Subject(f"S{number}", "BIG", f"sub-{number:04}", item, "2026-01-01 00:00:00.0", "admin")
                )
            for number in range(1200):
                _add_session(db, number)
        client(
            "PUT",
            "/data/projects/BIG/resources/R/files/x.tar",
            make_tar({f"{number:04}.txt": b"x" for number in range(1200)}),
            inbody="true",
            extract="true",
        )
        yield client


def _add_session(db: records.Database, number: int) -> None:
    kind = "xnat:mrSessionData"
    label, inserted = f"sub-{number // 3:04}_ses-{number % 3}", "2026-01-01 00:00:00.0"
    made = Experiment(f"E{number}", "BIG", label, f"S{number // 3}", kind, Item(kind), inserted, "admin")
    records.save_experiment(db, made)
    for scan in range(3):
        records.save_scan(db, made.id, Item("xnat:mrScanData", {"ID": str(scan)}), "admin")


@pytest.mark.parametrize(("path", "rows"), [("", 1200), ("/subjects", 400), ("/resources/{R}", 1200)])
def test_long_lists_come_in_pages(crowded: Client, path: str, rows: int) -> None:
    key = crowded.rows("/data/projects/BIG/resources")[0]["xnat_abstractresource_id"]
    address: str | None = f"{PROJECT}{path.replace('{R}', key)}"
    names: list[str] = []
    while address:
        page = parsed(crowded("GET", address))
        names += [one.text_content().strip() for one in page.xpath("//tbody/tr/th")]
        onward = page.xpath("(//nav[@class='pages'])[1]/a[@rel='next']/@href")
        address = urljoin(address, onward[0]) if onward else None

    assert len(names) == rows
    assert names == sorted(set(names))


def test_lists_can_be_searched(crowded: Client) -> None:
    found = parsed(crowded("GET", PROJECT, find="0_ses-1"))
    none = parsed(crowded("GET", PROJECT, find="%"))

    assert len(found.xpath("//tbody/tr")) == 40
    assert found.xpath("//input[@id='find']/@value") == ["0_ses-1"]
    assert none.xpath("//tbody/tr") == []


@pytest.mark.parametrize("number", ["0", "-1", "x", "999999", "9" * 500, "²"])
def test_odd_pages_show_the_nearest(crowded: Client, number: str) -> None:
    assert len(parsed(crowded("GET", PROJECT, page=number)).xpath("//tbody/tr")) == 100


def test_a_list_counts_scans(crowded: Client) -> None:
    page = parsed(crowded("GET", PROJECT))

    assert page.xpath("string(//tbody/tr[1]/td[@data-of='Scans'])") == "3"
    assert page.xpath("string(//tbody/tr[1]/td[@data-of='Type'])") == "MR session"
