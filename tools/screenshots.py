"""Makes the pictures of the documentation: what a terminal and a browser show of the sample dataset.

    python -m tools.screenshots [--browser chromium]

Terminals become SVG, by rich; pages become PNG, by a Chromium that is at hand. Both go to docs/pictures.
"""

from __future__ import annotations

import argparse
import io
import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import requests
from rich.console import Console
from rich.text import Text

from test_data.generate import generate
from xnat_bids_push.model import Address, Finding, Node, Outcome, State
from xnat_bids_push.progress import Tally, picture
from xnat_bids_push.server import LocalServer

PICTURES = Path(__file__).parent.parent / "docs" / "pictures"
WIDTH = 100
ALL = ("--derivatives", "all", "--sourcedata")
TERMINALS = {
    "plan": ("plan", "study", "STUDY"),
    "push": ("push", "study", "STUDY", *ALL),
    "verify": ("verify", "study", "STUDY", *ALL),
    "doctor": ("doctor", "STUDY"),
}
PAGES = {
    "project": "/app/projects/STUDY",
    "session": "/app/projects/STUDY/experiments/sub-01_ses-pre_MR",
}


def main() -> None:
    """Make all of them; without a browser, those of terminals only."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--browser", default=shutil.which("chromium") or shutil.which("google-chrome") or "")
    browser = parser.parse_args().browser
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bids2xnat-") as folder:
        home = Path(folder)
        generate(home / "study")
        for name, arguments in TERMINALS.items():
            save(name, f"bids2xnat {' '.join(arguments)}", Text.from_ansi(printed(home, *arguments)))
        save("progress", "bids2xnat study STUDY", underway())
        if not browser:
            sys.exit("no Chromium is at hand: the pictures of pages stay as they are (--browser PROGRAM)")
        [report] = (home / "receipts").glob("*.html")
        photograph(browser, report, PICTURES / "report.png", height=1200)
        for name, page in pages(home / "archive"):
            path = home / f"{name}.html"
            path.write_text(page, encoding="utf-8")
            photograph(browser, path, PICTURES / f"{name}.png")


def printed(home: Path, *arguments: str) -> str:
    """What a command prints in a terminal, colours and all."""
    program = "import sys; sys.argv[0] = 'bids2xnat'; from xnat_bids_push.cli import main; main()"
    kept = ("--receipts", "receipts", "--previews") if arguments[0] == "push" else ()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("XNAT", "BIDS2XNAT"))}
    environment |= {"COLUMNS": str(WIDTH), "TERM": "xterm-256color", "BIDS2XNAT_ARCHIVE": "archive"}
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", program, *arguments, *kept]
    with subprocess.Popen(
        command, cwd=home, env=environment, stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL
    ) as process:
        os.close(theirs)
        pieces = list(read(ours))
        os.close(ours)
    if process.returncode not in (0, 1):
        raise SystemExit(f"{' '.join(arguments)} ended with {process.returncode}")
    return b"".join(pieces).decode().replace("\r\n", "\n")


def read(terminal: int) -> Iterator[bytes]:
    """All that comes, until the other side closes it, which Linux calls an error."""
    try:
        while piece := os.read(terminal, 1 << 16):
            yield piece
    except OSError:
        return


def underway() -> object:
    """A push of some size, in its middle."""
    now = [0.0]
    tally = Tally(1200, 2_400 * 10**9, clock=lambda: now[0])
    for number in range(431):
        node = Node(f"sub-{number:04}", f"sub-{number:04}_MR")
        finding = Finding(State.SAME, Address(node, "", "BIDS", "a"), "a", 2 * 10**9)
        tally.settle(Outcome(node, (finding,)))
    now[0] = 9_000.0
    tally.sent = 862 * 10**9
    tally.work(Node("sub-0431", "sub-0431_MR"))
    now[0] += 11
    tally.add(1_042_000_000)
    return picture(tally, "Pushing")


def save(name: str, title: str, shown: object) -> None:
    """Draw a terminal."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(shown)
    drawing = console.export_svg(title=title, unique_id=name)
    # Without its fonts, which would come from the network.
    drawing = re.sub(r"@font-face \{.*?\}", "", drawing, flags=re.DOTALL)
    (PICTURES / f"{name}.svg").write_text(drawing, encoding="utf-8")


def pages(archive: Path) -> Iterator[tuple[str, str]]:
    """Pages of the archive that was pushed into."""
    with LocalServer(archive) as server:
        for name, path in PAGES.items():
            answer = requests.get(server.url + path, auth=(server.user, server.password), timeout=30)
            answer.raise_for_status()
            yield name, answer.text


def photograph(browser: str, page: Path, picture: Path, *, height: int = 800) -> None:
    """Draw a page that needs nothing else."""
    with tempfile.TemporaryDirectory(prefix="bids2xnat-") as profile:
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"]
        options += ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"]
        options += [f"--user-data-dir={profile}", f"--window-size=1000,{height}", f"--screenshot={picture}"]
        subprocess.run([browser, *options, page.as_uri()], check=True, capture_output=True, timeout=120)


if __name__ == "__main__":
    main()
