"""Other ways to do the same trainings, written as well as their users would write them, to compare with.

Each module has `trainer(case, device)`, which returns a function that does n train steps of every run of the case and
ends only when they are done. All do the protocol's training (arXiv:2606.18465): full batch, AdamW with decay of the
weight matrices, then the clamp; none takes readings.
"""
