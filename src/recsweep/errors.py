"""What can go wrong that a user can mend: one sentence with the rule, the value and the remedy, and
no traceback."""

from recsweep.masking import mask
from recsweep.terminal import printable


class RecsweepError(Exception):
    """The base of every error that a user can mend."""

    exit_status = 1

    def __str__(self) -> str:
        return printable(mask(super().__str__()))


class DataError(RecsweepError):
    """The interactions, or a split of them, are not what was asked for."""


class ConfigError(RecsweepError):
    """A setting is impossible."""


class UntrustedError(RecsweepError):
    """What a store holds would run code that is neither recsweep's nor allowed by the user."""


class ObjectiveError(ConfigError):
    """The measure that is to choose is not among those that were computed."""


class NotFittedError(RecsweepError):
    """A model was asked for scores before `fit` or `load`."""


class FitError(RecsweepError):
    """Training can't go on, as when the loss is no longer a number."""


class SavedModelError(RecsweepError):
    """A folder does not hold a whole model that this version can read."""


class TrackingError(RecsweepError):
    """The MLflow store can't be read or written."""


class RegistryError(RecsweepError):
    """The champion can't be changed, or there is none to change."""


class StudyError(RecsweepError):
    """A study can't be opened, joined or finished."""


class LedgerError(RecsweepError):
    """A row of the ledger lies outside its band or failed, or none was run."""
