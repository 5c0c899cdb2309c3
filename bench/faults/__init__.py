"""Faults put into whole commands: what people give, and what machines do."""
