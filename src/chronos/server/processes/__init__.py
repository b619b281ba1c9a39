"""API processes: they take the connections, answer what they can from the files, and pass the rest on to main.

    client ─▶ API process ─▶ edge ─┬▶ its own routes: state.db and history, read-only, behind the read barrier
                                   └▶ main, over a Unix socket: everything else, answered byte for byte
             main ◀─ link ─▶ API process: who is asking, how new is new enough, what is open, what happened

`front` and `desk` run in main, `edge` and `link` in the API process. What passes between them is in `messages`.
Whoever can open the sockets is main's own user: their folder is private, and the peer's user id is looked at.
"""
