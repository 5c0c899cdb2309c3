"""The terminal: the commands that read and make, their tables in 80 columns, the bars of a study that runs."""
