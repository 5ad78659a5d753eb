"""The engineer's side: a venue's authority, keys and gates in a folder on her own computer."""
