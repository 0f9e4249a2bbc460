"""Tests; a package, so that they import their helpers as `tests.local_hub`."""
