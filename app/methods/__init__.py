"""The WebDAV and HTTP methods, a module for each section of the RFCs."""
