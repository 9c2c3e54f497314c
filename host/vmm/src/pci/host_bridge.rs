//! The host bridge at 00:00.0: identity only.

use std::io;
use std::sync::Arc;

use anyhow::{Context, Result};
use pvir_abi::DeviceId;
use pvir_host::function::{BarMapper, EmulatedFunction, FunctionModel, PciFunction};
use pvir_host::pci::Identity;

/// A generic host bridge, which guests know and leave alone. Class 06 (bridge), subclass 00 (host).
const IDENTITY: Identity = Identity::new(0x1b36, 0x0008).with_subsystem(0, 0).with_class(6, 0, 0);

struct HostBridge;

impl FunctionModel for HostBridge {
    /// It has nothing inside.
    fn save(&self) -> io::Result<Vec<u8>> {
        Ok(Vec::new())
    }

    fn restore(&self, inside: &[u8]) -> io::Result<()> {
        if inside.is_empty() { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
    }
}

pub(crate) fn function(id: DeviceId, mapper: Arc<dyn BarMapper>) -> Result<Arc<PciFunction>> {
    EmulatedFunction::new(id, "host bridge", IDENTITY, Arc::new(HostBridge))
        .finish(mapper)
        .context("host bridge")
}
