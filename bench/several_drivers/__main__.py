"""Imports nothing at first: the processes that drivers start import it too."""

if __name__ == "__main__":
    from bench.several_drivers.parts import main

    main()
