"""`python -m robspec` is `robspec`."""

from robspec.cli import main

main()
