"""What a lane decides, and nothing else: no I/O, no clock, no log, no randomness."""
