"""The search: what the next trial is, which trial ends early, and which knob matters."""
