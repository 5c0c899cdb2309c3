"""What trains the rows: the frozen model, its loss, the initialisers, the loop, checkpoints, what a machine bears."""
