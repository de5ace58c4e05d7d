"""Bundles: what the trust metadata, the release policy and a model manifest mean; values in, values out."""
