"""`python -m smoldiff` is the command `smoldiff`."""

from smoldiff.cli import main

main()
