//! Sends home what the command left for the host.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use lab_wire::{Kind, OUT_DIR};

use crate::channel::Sender;
use crate::forward;

pub(crate) fn send(sender: &Sender) -> Result<()> {
    let mut tar = Command::new("/bin/tar")
        .args(["-C", OUT_DIR, "-cf", "-", "."])
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start tar")?;
    if let Some(archive) = tar.stdout.take() {
        forward(archive, Kind::Out, sender, || ())?;
    }
    let status = tar.wait()?;
    if !status.success() {
        bail!("tar of {OUT_DIR} failed ({status})");
    }
    Ok(())
}
