"""The default settings of the matching, the only place where they are written."""

# Name of the marginal scheme.
SCHEME = "uniform"
# Share of the structural similarity in the similarity.
WEIGHT = 0.5
# Strength of the entropy in the transport plan.
EPS = 0.05
# L1 error of the marginals at which a pair stops.
TOLERANCE = 1e-3
# Where a pair that has not converged stops.
MAX_ITERATIONS = 1000
# Which parts may stay unmatched.
TRANSPORT = "full"
# With the transport "dustbin", what is less alike than about this stays unmatched.
BIN_SIMILARITY = 0.3
