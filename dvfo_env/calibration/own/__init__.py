"""A board of one's own: what to measure, tools' outputs, the fit of a table."""
