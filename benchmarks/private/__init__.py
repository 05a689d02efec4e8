"""Private training without clipping, measured: accuracy at equal epsilon, time of a step, what an attacker learns.

    python -m benchmarks.private digits     # accuracy, clean and certified, beside clipped gradients
    python -m benchmarks.private runway     # the same of a segmenter trained by `robspec train`
    python -m benchmarks.private steps      # time of a step, and epsilon by two accountants
    python -m benchmarks.private audit      # one run with canaries, and the epsilon they show

Each prints its table and puts it into docs/explanation/private-figures.md. It takes `pip install 'robspec[private]'`;
beside clipped gradients also opacus, which is pinned in `benchmarks/private/clipped.py` and in no extra.
"""
