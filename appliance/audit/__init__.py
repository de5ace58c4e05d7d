"""The append-only log as values: a Merkle tree over records and signed checkpoints of it. No files, no clock."""
