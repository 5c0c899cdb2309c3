"""The report: one page about a study, for a browser, for print, and as Markdown."""
