"""Every figure of the gate beside a floor and a peer, measured in turns in the same run: `make bench`."""
