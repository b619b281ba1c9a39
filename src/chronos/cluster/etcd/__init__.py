"""A cluster's log on etcd. Nothing outside a cluster imports this room."""
