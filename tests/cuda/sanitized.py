"""Runs every case under AddressSanitizer, in a process that has loaded it: a program that test_sanitizer.py runs.

Prints the number of cases; the first bad access ends the process with a report. Arguments are copies of their own, so
that each has a guarded end.
"""

from tests.cuda.cases import cases
from tests.cuda.device import install, whole_emulator


def main() -> None:
    """Run them."""
    install(whole_emulator(check="memory"))
    for case in cases():
        case.run()
    print(len(cases()))


if __name__ == "__main__":
    main()
