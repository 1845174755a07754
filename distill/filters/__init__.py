"""What drops a candidate, one rule a file, and the chain that puts them in order.

Refuses to change a candidate: a rule says keep, or drops it with a reason a person can read.
"""
