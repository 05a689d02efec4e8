"""Independent evidence: compiled queries restated as optimisation problems, from the definitions alone.

Nothing here imports the kernels or the bounds it is compared with. A solver's answer is evidence, never proof: it is
floating point. What contradicts a bound is checked in exact rationals before it is believed.
"""
