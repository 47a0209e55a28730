"""The two designs that bots could be served by as well, made and measured in the same scenario as this one."""
