"""The pictures that matplotlib draws: of a trial's embedding, and of a study."""
