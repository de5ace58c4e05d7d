"""The command line of the bench, by who works there; ``export.__main__`` puts it together."""
