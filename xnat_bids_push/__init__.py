"""Push BIDS datasets into XNAT, prove that they arrived, and bring them back.

>>> from xnat_bids_push import connect, push, read                                    # doctest: +SKIP
>>> dataset = read("/bids/root")                                                      # doctest: +SKIP
>>> with connect("https://xnat.example.org", project="STUDY") as archive:             # doctest: +SKIP
...     report = push(dataset, archive)
>>> report.ok                                                                         # doctest: +SKIP
True
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xnat_bids_push.choosing import Choice
    from xnat_bids_push.connecting import connect
    from xnat_bids_push.dataset import Dataset, Selection, read
    from xnat_bids_push.errors import XnatBidsError
    from xnat_bids_push.identifying import Guard, Waiver
    from xnat_bids_push.model import NodePlan, Outcome, Privacy, Validation
    from xnat_bids_push.pulling import pull
    from xnat_bids_push.pushing import plan, push, verify
    from xnat_bids_push.removing import plan_removal, remove
    from xnat_bids_push.report import Report
    from xnat_bids_push.tailoring import mapping_table

__version__ = "0.1.0"

__all__ = [
    "Choice",
    "Dataset",
    "Guard",
    "NodePlan",
    "Outcome",
    "Privacy",
    "Report",
    "Selection",
    "Validation",
    "Waiver",
    "XnatBidsError",
    "__version__",
    "connect",
    "mapping_table",
    "plan",
    "plan_removal",
    "pull",
    "push",
    "read",
    "remove",
    "verify",
]

_HOMES = {
    "Choice": "choosing",
    "connect": "connecting",
    "Dataset": "dataset",
    "Selection": "dataset",
    "read": "dataset",
    "XnatBidsError": "errors",
    "Guard": "identifying",
    "Waiver": "identifying",
    "NodePlan": "model",
    "Outcome": "model",
    "Privacy": "model",
    "Validation": "model",
    "pull": "pulling",
    "plan": "pushing",
    "push": "pushing",
    "verify": "pushing",
    "plan_removal": "removing",
    "remove": "removing",
    "Report": "report",
    "mapping_table": "tailoring",
}


def __getattr__(name: str) -> object:
    """Load a public name when it is first used: the client behind it takes a second to import."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
