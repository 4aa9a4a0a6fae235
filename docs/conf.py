"""How the documentation is built."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

from xnat_bids_push import __version__

project = "bids2xnat"
author = "The bids2xnat developers"
copyright = "The bids2xnat developers"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "from_the_code"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "bids2xnat"
html_show_copyright = False

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
python_use_unqualified_type_names = True

# Types of the standard library, of typing, and of our own inner modules: named in signatures, described elsewhere.
nitpick_ignore_regex = [
    ("py:.*", r"(collections|contextlib|pathlib|os|typing|re|abc|enum|builtins)\..*"),
    ("py:.*", r"(Path|PathLike|Iterator|Iterable|Callable|Sequence|Mapping|Counter|Md5|Table|OnOutcome|OnBytes)"),
    ("py:.*", r"(tuple|dict|list)\[.*"),
    ("py:.*", r"xnat_bids_push\.(archive|client|identifying|labels|mapping|package|policies|table)(\..*)?"),
    ("py:.*", r"xnat_bids_push\.(dataset\.HasRoot|removing\.Deletion|fields\.Telling|report\.Omitted)"),
    (
        "py:.*",
        r"(xnat_bids_push\.model\.)?"
        r"(Step|CreateSubject|Deletion|ImportSession|CreateScans|SetFields|FillResource|SendFile|Deed|Made|StoredFile|Parcel|Holding)",
    ),
    ("py:.*", r"Client"),
    ("py:.*", r"Made by the push"),  # napoleon takes the words before a colon for a type
]
