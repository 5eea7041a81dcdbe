"""Run sweeps with Ray Tune, and the command line."""

if __name__ == "cluster":
    from grok_sweeps.bare_names import give_bare_name

    give_bare_name(__name__)
