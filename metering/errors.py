"""What can go wrong with metering.

MeteringError
├── ForeignCluster              409  foreign_cluster
└── TransactionCounterBehind    409  transaction_counter_behind
"""


class MeteringError(Exception):
    """The root: a stable ``code``, an HTTP ``status`` and a message that says what to do."""

    code = "metering_error"
    status = 400


class ForeignCluster(MeteringError):
    """The database was restored into another cluster, whose transaction ids mean something else."""

    code = "foreign_cluster"
    status = 409


class TransactionCounterBehind(MeteringError):
    """Events bear transaction ids that this cluster has yet to give out."""

    code = "transaction_counter_behind"
    status = 409
