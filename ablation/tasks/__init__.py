"""Tasks: what is learned and how it is scored. Importing this package registers every task in it."""

from ..registry import import_members

import_members(__name__, __path__, skip=("metrics",))  # torchmetrics takes a second, and only training needs it
