"""How two processes come to have a connection: sockets, rendezvous, NATs, TLS, Redis."""
