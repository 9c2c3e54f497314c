//! This end of the channel to the host.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use lab_wire::{Frame, Kind, PORT_NAME};

const PORTS: &str = "/sys/class/virtio-ports";

/// The receiving half.
pub(crate) struct Channel {
    port: File,
    sender: Sender,
}

/// The sending half, which many threads share.
#[derive(Clone)]
pub(crate) struct Sender(Arc<Mutex<File>>);

impl Channel {
    /// Opens the port. The kernel lets nobody else open it then.
    pub(crate) fn open() -> Result<Self> {
        let path = find()?;
        let port = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        let sender = Sender(Arc::new(Mutex::new(port.try_clone()?)));
        Ok(Self { port, sender })
    }

    pub(crate) fn sender(&self) -> Sender {
        self.sender.clone()
    }

    /// The next frame; `None` when the host has gone.
    pub(crate) fn receive(&mut self) -> Result<Option<Frame>> {
        lab_wire::read_frame(&mut self.port).context("the channel to the host broke")
    }
}

impl Sender {
    pub(crate) fn send(&self, kind: Kind, bytes: &[u8]) -> Result<()> {
        let mut port = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lab_wire::write_frame(&mut *port, kind, bytes).context("the channel to the host broke")
    }
}

fn find() -> Result<PathBuf> {
    for entry in fs::read_dir(PORTS).with_context(|| format!("cannot list {PORTS}"))? {
        let entry = entry?;
        let name = fs::read_to_string(entry.path().join("name")).unwrap_or_default();
        if name.trim_end() == PORT_NAME {
            return Ok(Path::new("/dev").join(entry.file_name()));
        }
    }
    anyhow::bail!("no virtio port is named {PORT_NAME}")
}
