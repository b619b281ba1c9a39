"""A model of etcd as Chronos uses it: members with disks of their own, elections, a quorum, watches, and all traps.

What is above the gRPC channel is the product's own: `SimEngine.channel` takes the place of `grpc.aio`'s.

    channel   what a client of gRPC sees: answers, refusals, deadlines, streams
    member    one member: takes requests, has them ordered, applies them, tells watchers
    raft      who leads the members, and in which order they apply: elections, replication, read indexes
    store     what is applied: keys with revisions, compaction, the space they take; pure
    net       what lies between members: cut in one direction, lossy, slow
"""
