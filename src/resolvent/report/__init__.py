"""The report of a reconstruction: one HTML page that needs only a browser, and no network."""

from resolvent.report.page import page, write_page

__all__ = ["page", "write_page"]
