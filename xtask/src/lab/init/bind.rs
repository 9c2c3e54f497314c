//! Gives a PCI function to vfio-pci, by name and without touching any other function.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

const DRIVER: &str = "vfio-pci";

/// Binds `bdf` to vfio-pci, taking it from a driver that has it.
pub(crate) fn to_vfio(bdf: &str) -> Result<()> {
    let device = Path::new("/sys/bus/pci/devices").join(bdf);
    write(&device.join("driver_override"), DRIVER)?;
    let driver = device.join("driver");
    if driver.exists() {
        write(&driver.join("unbind"), bdf)?;
    }
    // the probe's own error is not returned here: it shows in whether the driver is there afterwards
    write(Path::new("/sys/bus/pci/drivers_probe"), bdf)?;
    match fs::read_link(&driver) {
        Ok(target) if target.file_name().is_some_and(|name| name == DRIVER) => Ok(()),
        _ => bail!("{DRIVER} did not take {bdf}; the kernel's messages say why"),
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {text} to {}", path.display()))
}
