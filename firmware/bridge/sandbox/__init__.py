"""Stand-ins for vendors: each checks what it is asked as strictly as its vendor's documents allow.

They ship, so that everything can be tried without an account, and they are what the tests call the vendor.
`server` and `trouble` know HTTP and its faults, `desk` and `life` what every vendor does with a request and
by itself, `history` what happened, and `control` and `command` are the way in for people; none of them but
the last knows a vendor. The other files are about one vendor each.
"""
