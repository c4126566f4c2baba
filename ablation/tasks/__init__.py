"""Tasks: what is learned and how it is scored. Importing this package registers all of them."""

from ..registry import import_members

import_members(__name__, __path__, skip=("metrics",))  # importing torchmetrics takes a second; only training needs it
