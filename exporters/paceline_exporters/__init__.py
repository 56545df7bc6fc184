"""Ground floor: the step ring, what runs inside the training process, the messages that travel, the sources."""
