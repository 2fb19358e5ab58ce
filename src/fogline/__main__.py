"""``python -m fogline`` is the ``fogline`` command."""

from fogline.cli import main

if __name__ == "__main__":
    main()
