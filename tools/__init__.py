"""Programs for those who work on bids2xnat; `make` runs them."""
