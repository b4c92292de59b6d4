"""Faults: what must hold while processes are killed, disks are full and files are damaged."""
