"""The words of the four languages, as tables. Data only: what is done with them stands in the rules beside it."""
