"""This server and rclone before the same faults; `python -m scripts.reliability --help`."""
