"""`zotshelf doctor`: the whole way that a request goes, looked at step by step."""
