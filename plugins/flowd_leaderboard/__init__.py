"""A flowd transform: traders' past, measured from what is public, and how they compare."""
