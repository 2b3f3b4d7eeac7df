"""The first step: how far it lowers the loss, by rank, for three scaling rules and two optimisers."""
