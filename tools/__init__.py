"""Programs over finished runs."""
