"""A laboratory of network namespaces: a host with nothing but IPv6, and the internet around it."""
