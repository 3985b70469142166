"""Rows → a table: kept as they come, so that a run can be resumed, and written out as one file at its end."""
