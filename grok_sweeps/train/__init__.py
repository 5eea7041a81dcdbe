"""The lane engine: many runs as lanes of stacked tensors, one step function, one loop.

Shape legend for the whole package: L lanes, N train rows, P residues (= classes), D embedding width, H hidden width,
K readings, M = all parameters of one network, flattened.
"""
