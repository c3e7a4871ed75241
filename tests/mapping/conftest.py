"""A browser for the map: that of the page."""

from tests.demo.conftest import browser

__all__ = ["browser"]
