"""Models: what predicts, each a member of the ensemble, all with the same verbs."""
