"""What is drawn of a study and of a run, by matplotlib: PNG for MLflow and the work folders, SVG for the report."""
