"""The study harness: search space, objectives, driver, tracking, comparison and export of wake2vec trials."""
