"""Push BIDS datasets into XNAT, prove that they arrived, and bring them back."""

__version__ = "0.1.0"
