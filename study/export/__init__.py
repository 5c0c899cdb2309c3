"""The export of a trial: its model card, its folder, its version in MLflow's registry."""
