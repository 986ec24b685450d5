"""``python -m resolvent``: the program, if its folder is not on the path."""

from resolvent.cli import main

if __name__ == "__main__":
    main()
