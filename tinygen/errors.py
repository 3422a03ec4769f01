"""Errors that a user can make; each has a message of one line that names the thing and the remedy."""


class TinygenError(Exception):
    """Base of every error that the command line prints as one line, without a traceback."""

    exit_code = 2


class UsageError(TinygenError, ValueError):
    """An unknown name or a value that cannot be used."""


class DataError(TinygenError, ValueError):
    """A data file or folder that cannot be read as the data that was asked for."""


class RunError(TinygenError):
    """A run folder that is missing, holds another run, or cannot be written."""


class CheckpointError(TinygenError):
    """A checkpoint that is truncated, altered, of another model, or of a newer format."""


class DeviceError(TinygenError, RuntimeError):
    """A device that was asked for by name and cannot be used, or arrays of two devices in one operation."""


class ShapeError(TinygenError, ValueError):
    """Arrays whose shapes do not fit the operation."""


class DtypeError(TinygenError, TypeError):
    """Arrays whose dtypes do not fit the operation, or each other."""


class ArgumentError(TinygenError, TypeError):
    """A call whose arguments do not fit: an unknown keyword, one too many, one of a kind that cannot be used."""


class GradientError(TinygenError, RuntimeError):
    """A backward pass that cannot be run: freed graph, parameter changed in place, nothing to differentiate."""


class CaptureError(TinygenError, RuntimeError):
    """Something in an update that a captured graph cannot repeat."""


class NonFiniteError(TinygenError, ArithmeticError):
    """A loss, gradient or parameter that is NaN or infinite; nothing has been changed yet."""

    exit_code = 3
