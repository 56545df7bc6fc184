"""A configuration in the forms that a user's own job takes."""

from .arguments import as_arguments_json
from .flags import Flags, as_flags
from .shell import as_shell_exports

__all__ = ["Flags", "as_arguments_json", "as_flags", "as_shell_exports"]
