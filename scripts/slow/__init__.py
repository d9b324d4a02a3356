"""A thousand slow writers and a thousand slow readers, and what they do to the server and to others."""
