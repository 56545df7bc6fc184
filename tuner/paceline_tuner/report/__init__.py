"""The report of a study: figures as JSON, and a self-contained page that shows them."""

from .data import study_report
from .page import report_page

__all__ = ["report_page", "study_report"]
