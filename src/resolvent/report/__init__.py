"""The report of a reconstruction: one HTML page that needs nothing but a browser, not even a network."""

from resolvent.report.page import page, write_page

__all__ = ["page", "write_page"]
