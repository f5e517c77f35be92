"""``python -m gruvihttp`` is the command ``gruvihttp``."""

from gruvihttp.cli import main

if __name__ == "__main__":
    main()
