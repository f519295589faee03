"""What a machine with one GPU says about the program: right, fast, learning (README.md)."""
