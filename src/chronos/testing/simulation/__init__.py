"""A whole server on one seed: product code on virtual time, with fake targets, a fake disk, faults and clients.

    profile ─▶ World ─┬─ SimNode      lives of the server, built by `server.assemble` only
                      ├─ SimDisk      what its SQLite files lie on: loses, tears, reorders, fills up, fails
                      ├─ Targets      slow, flaky, hanging, lying; their own log of arrivals
                      ├─ Clients      create, edit, pause, delete … around due instants
                      └─ Nemesis      kills, power cuts, clock steps, suspends, bad disks, bad targets
                              │
                              ▼
                      Evidence ─▶ invariants, target windows, coverage ─▶ Report

Everything that happens is drawn from the seed, so that a run found once is found again: equal seeds give equal
digests, in any process. See docs/explanation/simulation.md.
"""
