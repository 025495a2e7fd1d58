"""What operators do with all of a run's files at once: audit, rebuild, back up, restore.

No service: these read and write files, of a run that rests or (the backup) of one that goes on.
"""
