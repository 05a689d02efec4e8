"""The static checks, one file each; a module's docstring is what `robspec explain` prints."""
