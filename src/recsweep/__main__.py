"""`python -m recsweep`."""

from recsweep.cli import main

if __name__ == "__main__":
    main()
