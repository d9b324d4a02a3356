"""Where the bytes are kept: one protocol, an implementation for folders and one for S3."""
