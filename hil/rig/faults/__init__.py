"""What can go wrong: a table of names, one small function each.

A fault is a context: entered, the device has it; left, it has not. The function gets the bench and the step of the
campaign, and yields a dictionary in which it notes what only it can know, by the name of a measurement.
"""
