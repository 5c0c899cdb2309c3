"""What `make ui` and `make dashboard` serve: MLflow's and Optuna's pages behind one gate, to be looked at only."""
