"""The one path: observations in, results out. Read it aloud in ``path.py``."""
