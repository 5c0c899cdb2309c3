"""The command line: what is typed, what it prints, and the bars of a study that runs."""
