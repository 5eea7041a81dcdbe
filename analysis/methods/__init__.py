"""What the estimators are made of: resampling, fits and likelihoods; they know cells, but no question."""
