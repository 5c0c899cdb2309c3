"""What runs a study: the driver, executors and workers, when it stops, what would fail every trial."""
