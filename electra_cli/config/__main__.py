"""Print the table of docs/options.md."""

from electra_cli.config import option_table

print(option_table())
