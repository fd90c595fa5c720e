"""`python -m dispatcher.cli`: the same command, for where the console script is not on the path."""

from dispatcher.cli import main

main()
