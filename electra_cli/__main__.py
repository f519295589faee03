from electra_cli.cli import main

main()
