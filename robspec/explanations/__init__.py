"""Why a network decides as it does: the nearest images it decides otherwise, and which pixels it looks at."""
