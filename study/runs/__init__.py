"""What a study knows of its runs: how they are stored, read back, judged, compared, chosen."""
