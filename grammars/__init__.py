"""The syntax of the language: `rspec.lark` is its only definition."""
