"""What a WebDAV server must do, as a model that many tests compare the real one with."""
