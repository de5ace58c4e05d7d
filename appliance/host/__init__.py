"""The machine underneath: its clock, its service manager, its disk. One file each; nothing here decides."""
