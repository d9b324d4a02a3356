"""What a monitoring system may know of a server: Prometheus asks each process at a port of its own.

All that needs the client library is loaded only where metrics are wanted.
"""
