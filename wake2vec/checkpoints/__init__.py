"""Stored models and matrices: read to be measured, written to be used."""
