"""Other ways to do the same trainings, written as well as their users would write them, to compare with.

Each module has `trainer(case, device)`, which returns a `Contender`. All do the protocol's training
(arXiv:2606.18465): full batch, AdamW, then decay of the weight matrices, then the clamp; none takes readings. That they
and our engine compute the same is a test (`tests/bench/test_bench_peers.py`).
"""
