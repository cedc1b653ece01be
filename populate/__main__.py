"""`python -m populate` is `bwm`."""

from populate.cli import main

if __name__ == "__main__":  # worker processes import this module
    main()
