"""Years of captures, decoded again in parallel: captures → parts of days → Parquet.

`plan` cuts a capture, `part` decodes one piece of it anywhere, `run` hands them out, checks that
they join, and keeps what is finished.
"""
