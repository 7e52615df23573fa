"""``python -m keshin`` is the command ``keshin``."""

from keshin.cli.main import main

if __name__ == "__main__":
    main(prog_name="keshin")
