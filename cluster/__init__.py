"""Run sweeps with Ray Tune, and the command line."""
