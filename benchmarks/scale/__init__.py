"""What outputs of any size cost: planning, labelling, the driver, and reading, a file each."""
