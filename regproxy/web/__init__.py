"""HTTP towards clients: routing, the Klein routes, answers, the one table of errors, body senders."""
