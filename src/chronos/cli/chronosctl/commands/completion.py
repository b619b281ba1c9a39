"""`chronosctl completion`: scripts for bash, zsh and fish."""

from __future__ import annotations

import click

from chronos.cli.chronosctl.lazy import leaf


@leaf()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    \b
    Examples:
      chronosctl completion bash > ~/.local/share/bash-completion/completions/chronosctl
      chronosctl completion zsh > "${fpath[1]}/_chronosctl"
      chronosctl completion fish > ~/.config/fish/completions/chronosctl.fish
    """
    from click.shell_completion import ShellComplete, get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    made = kind(ctx.find_root().command, {}, "chronosctl", "_CHRONOSCTL_COMPLETE")
    # The base class' source: bash's own starts a shell to ask for its version, which is not ours to judge.
    click.echo(ShellComplete.source(made))
