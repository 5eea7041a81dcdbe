"""The analyses, one a module: from the cells of a family, or of several, to estimates with their reasons."""
