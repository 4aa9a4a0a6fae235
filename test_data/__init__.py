"""Sample datasets and the generator that makes them."""
