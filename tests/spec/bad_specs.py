"""Specs that must be refused, each with what its one line has to say: field, value or what is allowed, and fix."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BadSpec:
    """YAML `text`, and the words that its error names."""

    text: str | bytes
    names: tuple[str, ...]


def _runs(axes: str, *names: str) -> BadSpec:
    return BadSpec(f"name: bad\nruns: {{{axes}}}\n", names)


def _execution(keys: str, *names: str) -> BadSpec:
    return BadSpec(f"name: bad\nexecution: {{{keys}}}\n", names)


def _clamp(axes: str, *names: str) -> BadSpec:
    return _runs(f"arm: clamp, w_c: 54.5, {axes}", *names)


def _text(text: str | bytes, *names: str) -> BadSpec:
    return BadSpec(text, names)


_DOUBLINGS = "".join(
    f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefghijklmnopqrs", "bcdefghijklmnopqrst", strict=True)
)
_HUNDRED = [1 + k / 100 for k in range(100)]

BAD_SPECS: dict[str, BadSpec] = {
    # unknown keys
    "unknown key at the top": _text("name: bad\nrnus: {p: 59}\n", "rnus", "Did you mean 'runs'?", "execution"),
    "unknown axis in runs": _runs("rh0: 1.0", "runs.rh0", "unknown axis", "Did you mean 'rho'?", "train_fraction"),
    "unknown axis in a block": _text(
        "name: bad\nblocks: [{p: 59}, {taau: 1}]\n", "blocks[1].taau", "Did you mean 'tau'?"
    ),
    "unknown key in execution": _execution("lane: 2", "execution.lane", "Did you mean 'lanes'?", "pack_runs"),
    "key that is not text": _runs("1: 2", "runs", "key 1", "train_fraction"),
    "key with a line break": _text('name: bad\n"ru\\nns": 3\n', "ru ns", "unknown key"),
    # wrong types
    "p is text": _runs("p: 'x'", "runs.p", "'x'", "whole number"),
    "p is a fraction": _runs("p: 59.5", "runs.p", "59.5", "whole number"),
    "p is a boolean": _runs("p: true", "runs.p", "True", "whole number"),
    "p is null": _runs("p: null", "runs.p", "null (empty)", "whole number"),
    "p is nested": _runs("p: [[59]]", "runs.p", "whole number"),
    "second p is text": _runs("p: [59, 'x']", "runs.p[1]", "'x'", "whole number"),
    "p is a very long text": _runs(f"p: '{'x' * 5000}'", "runs.p", "whole number"),
    "rho is text": _clamp("rho: 'a'", "runs.rho", "'a'", "number"),
    "tau is quoted": _runs("tau: '1.0'", "runs.tau", "'1.0'", "number"),
    "seeds is text": _runs("seeds: many", "runs.seeds", "'many'", "count"),
    "seeds is a boolean": _runs("seeds: true", "runs.seeds", "True", "count"),
    "seeds is a fraction": _runs("seeds: 1.5", "runs.seeds", "1.5", "count"),
    "seeds is null": _runs("seeds: null", "runs.seeds", "null (empty)", "count"),
    "a seed is text": _runs("seeds: [0, a]", "runs.seeds", "'a'", "whole number"),
    "a seed is negative": _runs("seeds: [-1]", "runs.seeds", "-1", "from 0 to"),
    "no seeds": _runs("seeds: 0", "runs.seeds", "at least 1"),
    "lanes is a fraction": _execution("lanes: 1.5", "execution.lanes", "1.5", "'auto'", "whole number"),
    "lanes is zero": _execution("lanes: 0", "execution.lanes", "0", "at least 1"),
    "unknown states to keep": _execution("keep_states: none", "execution.keep_states", "'all'", "'needed'", "'forks'"),
    "unknown device": _execution("device: tpu", "execution.device", "'tpu'", "'cpu'", "'cuda'"),
    "checkpoint time is quoted": _execution("checkpoint_every_s: '60'", "execution.checkpoint_every_s", "number"),
    "checkpoint time is a boolean": _execution("checkpoint_every_s: true", "execution.checkpoint_every_s", "number"),
    "checkpoint time is not a number": _execution("checkpoint_every_s: .nan", "execution.checkpoint_every_s", "number"),
    "runs is a list": _text("name: bad\nruns: [1]\n", "runs", "[1]", "mapping"),
    "execution is empty": _text("name: bad\nexecution:\n", "execution", "mapping", "execution: {lanes: 2}"),
    "blocks is a mapping": _text("name: bad\nblocks: {p: 59}\n", "blocks", "list"),
    "a block is a number": _text("name: bad\nblocks: [3]\n", "blocks[0]", "3", "mapping"),
    # out of range
    "empty axis": _runs("p: []", "runs.p", "empty axis", "at least one value"),
    "empty axis in a block": _text("name: bad\nblocks: [{tau: []}]\n", "blocks[0].tau", "empty axis"),
    "empty w_c": _runs("arm: clamp, w_c: []", "runs.w_c", "empty axis"),
    "empty seeds": _runs("seeds: []", "runs.seeds", "empty axis"),
    "empty blocks": _text("name: bad\nblocks: []\n", "blocks", "at least one"),
    "rho is zero": _clamp("rho: 0", "runs.rho", "0", "greater than 0"),
    "rho is negative": _clamp("rho: [1.0, -1.0]", "runs.rho[1]", "-1.0", "greater than 0"),
    "tau is zero": _runs("tau: 0.0", "runs.tau", "0.0", "greater than 0"),
    "tau is negative": _runs("tau: -1", "runs.tau", "-1", "greater than 0"),
    "p is one": _runs("p: 1", "runs.p", "1", "at least 2"),
    "train_fraction is zero": _runs("train_fraction: 0", "runs.train_fraction", "greater than 0"),
    "train_fraction is one": _runs("train_fraction: 1", "runs.train_fraction", "less than 1"),
    "train_fraction is above one": _runs("train_fraction: 1.5", "runs.train_fraction", "1.5", "less than 1"),
    "train_fraction leaves no train pair": _runs("train_fraction: 1e-6", "runs.train_fraction", "1e-06", "1/3481"),
    "train_fraction leaves none at one p": _runs("p: [59, 2], train_fraction: 0.2", "train_fraction", "p = 2", "1/4"),
    "tau is not a number": _runs("tau: .nan", "runs.tau", "nan", "finite"),
    "tau is infinite": _runs("tau: .inf", "runs.tau", "inf", "finite"),
    "lr overflows": _runs("lr: 1e400", "runs.lr", "inf", "finite"),
    "w_c is another word": _runs("arm: clamp, w_c: ctrl", "runs.w_c", "'ctrl'", "'control'"),
    "w_c is negative": _runs("arm: clamp, w_c: -5.5", "runs.w_c", "-5.5", "greater than 0"),
    "unknown arm": _runs(
        "arm: fre", "runs.arm", "'fre'", "'free', 'clamp', 'allocation' or 'fork'", "did you mean 'free'?"
    ),
    # the axes of the protocol
    "unknown task": _runs("task: ad", "runs.task", "'ad'", "'add', 'sub', 'mul', 'div'", "did you mean 'add'?"),
    "unknown arch": _runs("arch: mpl", "runs.arch", "'mpl'", "'transformer_no_layernorm'", "did you mean 'mlp'?"),
    "unknown loss": _runs("loss: hinge", "runs.loss", "'hinge'", "'ce' or 'mse'"),
    "unknown optimizer": _runs("optimizer: lion", "runs.optimizer", "'lion'", "'adamw', 'adam' or 'sgd'"),
    "unknown dtype": _runs("dtype: bfloat16", "runs.dtype", "'bfloat16'", "'float32' or 'float64'"),
    "unknown normalizer": _runs("normalizer: sparsemax", "runs.normalizer", "'softmax' or 'stablemax'"),
    "unknown projection": _runs("gradient_projection: ortho", "gradient_projection", "'none' or 'orthogonal'"),
    "compensation is a number": _runs("gradient_compensation: 1", "gradient_compensation", "1", "true or false"),
    "smoothing is one": _runs("label_smoothing: 1.0", "runs.label_smoothing", "1.0", "less than 1"),
    "smoothing is negative": _runs("label_smoothing: -0.1", "runs.label_smoothing", "at least 0"),
    "penalty is negative": _runs("logit_penalty: -1", "runs.logit_penalty", "-1", "at least 0"),
    "momentum is one": _runs("optimizer: sgd, momentum: 1", "runs.momentum", "1", "less than 1"),
    "momentum without sgd": _runs("momentum: 0.9", "runs.momentum", "'sgd'", "'adamw'", "leave it out"),
    "batch is zero": _runs("batch_size: 0", "runs.batch_size", "0", "at least 1"),
    "batch is larger than the train split": _runs("batch_size: 5000", "batch_size", "5000", "1392", "leave it out"),
    "heads without attention": _runs("heads: 4", "runs.heads", "'mlp'", "no attention", "leave heads out"),
    "heads do not divide the width": _runs(
        "arch: transformer, heads: 3", "runs.heads", "3 heads", "d_model 128", "change one"
    ),
    "the default heads do not divide": _runs("arch: transformer, d_model: 30", "4 heads", "d_model 30"),
    "division modulo no prime": _runs("task: div, p: [59, 60]", "runs.p", "60", "not a prime", "'div'"),
    "stablemax under mse": _runs("loss: mse, normalizer: stablemax", "runs.normalizer", "'stablemax'", "'ce'"),
    "stop is another word": _runs("stop: soon", "runs.stop", "'soon'", "'grokked+N'", "'budget'"),
    "stop adds no steps": _runs("stop: grokked+0", "runs.stop", "'grokked+0'", "'grokked+N'"),
    "gamma is below -1": _runs("arm: allocation, w_c: control, gamma: -1.5", "runs.gamma", "-1.5", "at least -1"),
    "gamma without allocation": _clamp("gamma: 0.3", "runs.gamma", "'allocation'", "['clamp']"),
    "allocation without w_c": _runs("arm: allocation", "runs.w_c", "'allocation'", "'control'"),
    "allocation without shares": _runs("arm: allocation, w_c: 54.5", "share_", "pinned w_c", "w_c: control"),
    "allocation with one share": _runs(
        "arm: allocation, w_c: 54.5, share_hidden: 0.8", "share_embedding", "share_hidden", "pin all layer shares"
    ),
    "shares of more than the whole": _runs(
        "arm: allocation, w_c: 54.5, share_embedding: 0.8, share_hidden: 0.8, share_readout: 0.8", "1.9200", "sum to 1"
    ),
    "a share is above one": _runs("arm: allocation, w_c: control, share_hidden: 1.2", "share_hidden", "less than 1"),
    "shares without allocation": _clamp("share_hidden: 0.8", "runs.share_hidden", "'allocation'"),
    "allocation of a transformer": _runs(
        "arm: allocation, w_c: control, arch: transformer", "runs.arm", "'allocation'", "position", "arch mlp"
    ),
    "paper seeding of a transformer": _runs(
        "arch: transformer, seeding: paper", "runs.seeding", "'transformer'", "run"
    ),
    # forks
    "arm fork without a fork": _runs("arm: fork", "runs.arm", "'fork'", "fork: {of: control, at_step: 800}"),
    "fork is a number": _runs("fork: 800", "runs.fork", "800", "{of: control, at_step: 800}"),
    "fork without a step": _runs("fork: {of: control}", "runs.fork.at_step", "required"),
    "fork with another key": _runs("fork: {of: control, at: 8}", "runs.fork.at", "unknown key 'at'", "at_step"),
    "fork of a word": _runs("fork: {of: parent, at_step: 8}", "runs.fork.of", "'parent'", "'control'", "SWEEP/RUN_ID"),
    "fork at step zero": _runs("fork: {of: control, at_step: 0}", "runs.fork.at_step", "0", "at least 1"),
    "fork at the end of the budget": _runs(
        "max_steps: 800, fork: {of: control, at_step: 800}", "runs.fork.at_step", "800", "raise max_steps"
    ),
    "fork of a run of no sweep": _runs(
        "fork: {of: nowhere/0123456789abcdef, at_step: 8}", "fork.of", "nowhere/0123456789abcdef"
    ),
    "w_c with arm fork alone": _runs("arm: fork, w_c: 5.0, fork: {of: control, at_step: 8}", "runs.w_c", "'clamp'"),
    # keys that contradict each other
    "clamp without w_c": _runs("arm: clamp", "runs.w_c", "clamp", "'control'"),
    "clamp without w_c in a block": _text(
        "name: bad\nblocks: [{arm: free}, {arm: clamp}]\n", "blocks[1].w_c", "'control'"
    ),
    "rho without clamp": _runs("rho: 1.1", "runs.rho", "'free'", "arm: clamp"),
    "rho without clamp in a block": _text("name: bad\nblocks: [{rho: 1.1}]\n", "blocks[0].rho", "arm: clamp"),
    "paper seeding of a list of seeds": _runs("seeding: paper, seeds: [0, 1]", "seeds_in_block", "[0, 1]", "12"),
    "a seed beyond the block": _runs("seeding: paper, seeds: [12], seeds_in_block: 12", "runs.seeds", "12", "Raise"),
    "block without paper seeding": _runs("seeds_in_block: 12", "runs.seeds_in_block", "seeding: paper"),
    # too many runs
    "a billion seeds": _runs("seeds: 1000000000", "runs", "1,000,000,000", "seeds", "1,000,000 at most"),
    "more seeds than a machine word": _runs(f"seeds: {10**25}", "runs.seeds", "at most 2147483648"),
    "a billion crossed": _clamp(
        f"p: {list(range(2, 102))}, rho: {_HUNDRED}, tau: {_HUNDRED}, seeds: 1000",
        "rho 100 x tau 100",
        "1,000,000 at most",
    ),
    # what YAML 1.1 and a person read differently
    "octal": _runs("p: 013", "line 2", "runs.p", "013", "11", "13"),
    "octal in a list": _runs("seeds: [1, 010]", "line 2", "runs.seeds[1]", "010", "8", "10"),
    "octal below zero": _runs("arm: allocation, w_c: control, gamma: -010", "runs.gamma", "-010", "-8", "-10"),
    "octal with a line between": _runs("p: 0_13", "runs.p", "0_13", "11", "13"),
    "octal in a block": _text("name: bad\nblocks:\n- p: 013\n", "line 3", "blocks[0].p", "013"),
    "octal in a fork": _runs("fork: {of: control, at_step: 0100}", "runs.fork.at_step", "0100", "64", "100"),
    "octal as a name": _text("name: 013\n", "line 1", "name", "013", "'013'"),
    "no octal": _runs("seeds: [07, 08]", "runs.seeds[1]", "08", "leading zero", "write 8"),
    "octal of another notation": _runs("p: 0o13", "runs.p", "'0o13'", "whole number"),
    "base 60": _execution("checkpoint_every_s: 1:30", "line 2", "execution.checkpoint_every_s", "1:30", "90"),
    "base 60 with decimals": _runs("tau: 1:30.5", "line 2", "runs.tau", "1:30.5", "90.5"),
    "no digits": _runs("tau: 0x_", "line 2", "runs.tau", "0x_", "write a number."),
    "no digits in a list": _runs("p: [11, -0b_]", "line 2", "runs.p[1]", "-0b_", "write a number."),
    "no digits as a name": _text("name: 0x_\n", "line 1", "name", "'0x_'"),
    "no digits as a key": _text("name: bad\n0x_: 1\n", "line 2", "0x_"),
    "a tag that does not fit": _runs("gradient_compensation: !!bool maybe", "line 2", "maybe", "without its tag"),
    "a tag and a line break": _text('name: bad\ndescription: !!int "a\\nb"\n', "line 2", "a b", "int"),
    "a number of 5000 digits": _runs(f"max_steps: {'9' * 5000}", "line 2", "runs.max_steps", "999...", "write a"),
    "base 60 as a name": _text("name: 12:30\n", "name", "12:30", "750", "'12:30'"),
    "decimal commas": _clamp("rho: [1,05, 1,10]", "line 2", "runs.rho", "1,05", "1.05", "space"),
    "one decimal comma": _clamp("rho: [1,05]", "line 2", "runs.rho", "1,05", "1.05"),
    "decimal commas without zeros": _runs("tau: [1,25, 1,5]", "runs.tau", "1,25", "1.25", "space"),
    "a decimal comma last": _runs("tau: [1.5, 2, 1,25]", "runs.tau", "1,25", "1.25", "space"),
    "decimal comma without a list": _text("name: bad\nruns:\n  tau: 1,25\n", "runs.tau", "'1,25'", "1.25", "[1, 25]"),
    "thousands with commas": _text("name: bad\nruns:\n  max_steps: 60,000\n", "runs.max_steps", "'60,000'", "whole"),
    "a power that is no whole number": _runs("max_steps: 1e-3", "runs.max_steps", "0.001", "whole number"),
    "a whole number with decimals": _runs("max_steps: 1000.0", "runs.max_steps", "1000.0", "whole number"),
    "a power as a name": _text("name: 1e3\n", "name", "1000", "text"),
    "not a number without a point": _runs("tau: NaN", "runs.tau", "'NaN'", "finite number"),
    "a date as a number": _runs("p: 2026-12-01", "runs.p", "'2026-12-01'", "whole number"),
    "yes as a number": _runs("p: yes", "runs.p", "'yes'", "whole number"),
    "no as an arm": _runs("arm: no", "runs.arm", "'no'", "'free'"),
    "an axis without a value": _text("name: bad\nruns:\n  p:\n", "runs.p", "null (empty)", "whole number"),
    "a name without a value": _text("name:\nruns: {p: 11}\n", "name", "null (empty)", "text"),
    "a tilde": _runs("tau: ~", "runs.tau", "null (empty)", "number"),
    "merge key of an alias": _text("name: bad\nruns: &r {p: 59}\nblocks: [{<<: *r, tau: 2}]\n", "line 3", "aliases"),
    "duplicate key in quotes": _text('name: bad\nruns: {p: 59, "p": 97}\n', "line 2", "'p'", "twice"),
    # files that are no spec
    "alias bomb": _text(f"name: bad\na: &a [1, 1]\n{_DOUBLINGS}", "line 3", "aliases", "write the values out"),
    "alias": _text("name: bad\nruns: &r {p: 59}\nblocks: [*r]\n", "line 3", "*r", "aliases"),
    "duplicate key": _text("name: bad\nruns: {p: 59, p: 97}\n", "line 2", "'p'", "twice", "keep one"),
    "duplicate section": _text("name: bad\nruns: {}\nruns: {}\n", "line 3", "'runs'", "twice"),
    "unclosed bracket": _text("name: bad\nruns: {p: [59}\n", "line 2", "not valid YAML"),
    "tab": _text("name: bad\n\truns: 3\n", "line 2, column 1", "not valid YAML", "indent with spaces"),
    "two documents": _text("name: bad\n---\nname: b\n", "line 2", "document"),
    "object of a class": _text("name: !!python/object/apply:os.getcwd []\n", "line 1", "os.getcwd"),
    "control character": _text("name: b\x00d\n", "not allowed"),
    "binary": _text(b"\x80\x02}q\x00.\xff\xfe", "cannot be read as UTF-8 text"),
    "too large": _text("# " + "x" * (1 << 20) + "\nname: bad\n", "1,048,5", "at most"),
    "deep lists": _text("name: bad\nruns: " + "[" * 1500 + "]" * 1500, "nested too deeply", "three levels"),
    "deep mappings": _text("name: bad\nruns: " + "{a: " * 1500 + "}" * 1500, "nested too deeply", "three levels"),
    "empty": _text("", "mapping", "name, runs, blocks and execution"),
    "comments only": _text("# nothing\n", "mapping", "name, runs, blocks and execution"),
    "a list": _text("- 1\n", "mapping"),
    "a word": _text("hello\n", "mapping"),
    # users' tools
    "webhook that is no URL": _execution("webhook: hooks", "execution.webhook", "http:// or https:// URL", "$NAME"),
    "webhook with a password": _execution("webhook: 'https://a:b@h/'", "execution.webhook", "credentials", "$NAME"),
    "webhook that is a number": _execution("webhook: 5", "execution.webhook", "5", "text"),
    "variable that is no name": _execution("mlflow: $1", "execution.mlflow", "'$'", "$MY_MLFLOW"),
    "metrics port too high": _execution("metrics_port: 65536", "execution.metrics_port", "65536", "at most 65535"),
    "metrics address without a port": _execution("metrics_port: host", "execution.metrics_port", "HOST:PORT"),
    "tracking URI with a password": _execution("mlflow: 'http://a:b@h'", "execution.mlflow", "credentials", "$NAME"),
    "tracking URI that is broken": _execution("mlflow: 'http://[::1'", "execution.mlflow", "tracking URI"),
    "project with two slashes": _execution("wandb: a/b/c", "execution.wandb", "ENTITY/PROJECT"),
    # names
    "name with a slash": _text("name: a/b\n", "name", "'a/b'", "letters, digits"),
    "name is the parent folder": _text("name: ..\n", "name", "'..'", "letters, digits"),
    "name ends in a line break": _text('name: "a\\n"\n', "name", "letters, digits"),
    "name is too long": _text(f"name: {'a' * 64}\n", "name", "{0,62}"),
    "name is a number": _text("name: 12\n", "name", "12", "text"),
}
