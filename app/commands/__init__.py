"""The commands of `zotshelf` beside `serve` and `host`: arguments in, tables, JSON and exit codes out."""
