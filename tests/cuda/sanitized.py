"""Run every case in a process that has loaded AddressSanitizer: a program that test_sanitizer.py runs.

It prints the number of cases; the first bad access ends the process with a report. Arguments are copied, so that each
has a guarded end.
"""

from tests.cuda.cases import cases
from tests.cuda.device import emulator_with_all_kernels, install


def main() -> None:
    """Run all cases on an emulator that checks accesses to memory."""
    install(emulator_with_all_kernels(check="memory"))
    for case in cases():
        case.run()
    print(len(cases()))


if __name__ == "__main__":
    main()
