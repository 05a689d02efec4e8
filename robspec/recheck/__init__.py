"""Certificates that can be checked again: everything from the logits on derived anew, in exact rational arithmetic.

Nothing here imports the kernels or the bounds. What is taken from the rest of robspec is the compiler, the model
loader, the data loader and the prover of the constant; the prover runs afresh, without its cache.
"""
