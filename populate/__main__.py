"""`python -m populate` is `bwm`."""

from populate.cli import main

main()
