"""SMS providers: `base` is what the daemon knows of them; one file (or few) for each; and the simulator."""
