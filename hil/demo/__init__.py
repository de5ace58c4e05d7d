"""The whole chain on one machine, from an empty folder: what ``appliance demo`` starts.

stage   the folder: identities, signed bundle installed, film, mission file
children  the daemon and the listener as real processes
play    the scene in real time, and what the listener opened meanwhile
score   the opened entities against the scene's truth
tell    a table for people, one JSON object for scripts
"""
