"""Devices: readers, turnstiles, lamps and sensors, real and fake. Knows nothing of tickets."""
