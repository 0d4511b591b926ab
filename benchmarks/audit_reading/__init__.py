"""What reading a long log costs: indexing and searching."""
