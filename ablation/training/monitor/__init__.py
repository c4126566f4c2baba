"""Monitor: what is measured of a run's stability while it trains; a module per idea, the base class in ``base``.

Importing this package registers every monitor in it. It knows neither Lightning nor the configuration.
"""

from ...registry import import_members

import_members(__name__, __path__)
