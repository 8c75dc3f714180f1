"""What says whether a text follows from another one."""
