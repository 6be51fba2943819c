"""How fast it is: ours beside the reference libraries, and beside what the machine can do, measured in one run."""
