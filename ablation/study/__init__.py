"""Study: from a grid file to its comparison. The one driver, for commands and for Python alike; it prints nothing."""
