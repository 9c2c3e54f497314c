//! Loads the modules that every lab needs. Drivers of the devices under test are not among them.

use std::ffi::CString;
use std::fs::{self, File};

use anyhow::{Context, Result};
use rustix::io::Errno;
use rustix::system::finit_module;

/// Loads what the list in the image names, in its order.
pub(crate) fn load_listed() -> Result<()> {
    let list = fs::read_to_string(lab_wire::MODULE_LIST)
        .with_context(|| format!("cannot read {}", lab_wire::MODULE_LIST))?;
    for path in list.lines() {
        load(path)?;
    }
    Ok(())
}

fn load(path: &str) -> Result<()> {
    let file = File::open(path).with_context(|| format!("cannot open {path}"))?;
    let no_parameters = CString::default();
    match finit_module(&file, &no_parameters, 0) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot load {path}")),
    }
}
