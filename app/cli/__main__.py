"""`python -m app.cli` is `maskledger`."""

from app.cli import main

if __name__ == "__main__":
    main()
