"""The mirror: a copy of the results on a drive that outlives the machine, and the way back."""
