"""The geometry report of any checkpoint: tables, a page, JSON, and a comparison with an older report."""
