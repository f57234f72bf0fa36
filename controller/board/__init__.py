"""What a device shows and lets one set: `Board`, found at start and never assumed."""

from dvfo_controller.board.board import Board, Reading

__all__ = ["Board", "Reading"]
