"""Reading the log: search, stories, figures, exports and receipts. Reads what a gateway wrote, and writes no record.

The log stays the only source of truth: the index here is derived, can be deleted at any time, and whatever is printed
comes from the log's own lines.
"""
