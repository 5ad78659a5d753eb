"""Stand-ins for vendors: each checks what it is asked as strictly as its vendor's documents allow.

They ship, so that everything can be tried without an account, and they are what the tests call the vendor.
`server` and `trouble` know HTTP and its faults and no vendor; the other files are about one vendor each.
"""
