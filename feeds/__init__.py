"""Sources of ticks, one file each, found by the entry-point group `ticker.feeds`."""
