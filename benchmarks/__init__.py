"""Speed and memory, shown beside the bare floor or a peer in the same run, as ratios. Never a timed test.

python -m benchmarks              every benchmark whose data are here
python -m benchmarks pipeline     one of them
"""
