"""Token files → checkpoint, with torch (the extra `train`). One loop; recipes only choose."""
