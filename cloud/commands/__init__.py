"""The commands of `python -m cloud`, each a module that reads options and calls the part that does the work."""

from __future__ import annotations

import typer

from cloud.commands import behind, canary, deploy, destroy, image_cache, redrive, smoke, status, synth

app = typer.Typer(
    name="python -m cloud",
    help="Darkroom on AWS: deploy it, look after it, remove it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.callback()(lambda: None)
app.command("deploy")(deploy.deploy)
app.command("destroy")(destroy.destroy)
app.command("image-cache")(image_cache.image_cache)
app.command("redrive")(redrive.redrive)
app.command("canary")(canary.canary)
app.command("promote")(canary.promote)
app.command("rollback")(canary.rollback)
app.command("smoke")(smoke.smoke)
app.command("status")(status.status)
app.command("synth")(synth.synth)
app.command("behind")(behind.behind)
