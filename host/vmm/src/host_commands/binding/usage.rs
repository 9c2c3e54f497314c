//! Whether somebody uses a device, so that its driver must not be taken from it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use pvir_abi::DeviceId;
use pvir_host::isolation::Host;

/// What uses a device.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InUse {
    #[error("{device} is a bridge: what is behind it would go with it; help: bind what is behind it")]
    Bridge { device: DeviceId },
    #[error(
        "{device} has the network interface {name}, which is up; help: `ip link set {name} down`, if nothing needs it"
    )]
    Interface { device: DeviceId, name: String },
    #[error("{device} has the disk {name}, {how}; help: take it out of use first")]
    Disk { device: DeviceId, name: String, how: String },
    #[error("{device} is the display that the firmware chose; help: use another one for the host")]
    BootDisplay { device: DeviceId },
    #[error("{device} has the host's console {name}; help: move the console elsewhere")]
    Console { device: DeviceId, name: String },
    #[error(
        "{device} has {count} virtual functions, which would go with it; help: write 0 to {path} first, if nothing needs them"
    )]
    VirtualFunctions { device: DeviceId, count: u32, path: String },
    #[error("{device}: /dev/{node} is open in process {process}; help: end that process")]
    Open { device: DeviceId, node: String, process: String },
    #[error("{device}: cannot read {path}: {source}")]
    Unread { device: DeviceId, path: String, source: io::Error },
}

/// Refuses a device that somebody uses, as far as this user may see: other users' open files only root sees.
pub(crate) fn of(host: &Host, device: DeviceId) -> Result<(), InUse> {
    let link = host.device_path(device);
    let folder = fs::canonicalize(&link).map_err(|source| unread(device, &link, source))?;
    let look = Look { host, device, folder };
    look.bridge()?;
    look.virtual_functions()?;
    look.interfaces()?;
    look.disks()?;
    look.displays_and_consoles()?;
    look.open_nodes()
}

fn unread(device: DeviceId, path: &Path, source: io::Error) -> InUse {
    InUse::Unread { device, path: path.display().to_string(), source }
}

struct Look<'a> {
    host: &'a Host,
    device: DeviceId,
    /// With all links resolved, so that what is below it can be told.
    folder: PathBuf,
}

impl Look<'_> {
    fn text(&self, below: &Path) -> String {
        fs::read_to_string(below).unwrap_or_default().trim().to_owned()
    }

    fn bridge(&self) -> Result<(), InUse> {
        let file = self.folder.join("class");
        let class = fs::read_to_string(&file).map_err(|source| unread(self.device, &file, source))?;
        if class.starts_with("0x06") { Err(InUse::Bridge { device: self.device }) } else { Ok(()) }
    }

    fn virtual_functions(&self) -> Result<(), InUse> {
        let file = self.folder.join("sriov_numvfs");
        match self.text(&file).parse() {
            Ok(count) if count > 0 => {
                let path = format!("/sys/bus/pci/devices/{}/sriov_numvfs", self.device);
                Err(InUse::VirtualFunctions { device: self.device, count, path })
            }
            _ => Ok(()),
        }
    }

    /// Members of a class of sysfs that are below the device.
    fn members(&self, class: &str) -> Vec<(String, PathBuf)> {
        let entries =
            fs::read_dir(self.host.path(&format!("sys/class/{class}"))).into_iter().flatten().flatten();
        let below = |entry: fs::DirEntry| {
            let path = fs::canonicalize(entry.path()).ok()?;
            let name = entry.file_name().into_string().ok()?;
            path.starts_with(&self.folder).then_some((name, path))
        };
        entries.filter_map(below).collect()
    }

    fn interfaces(&self) -> Result<(), InUse> {
        const UP: u32 = 1;
        for (name, path) in self.members("net") {
            let flags = self.text(&path.join("flags"));
            // What cannot be read is taken for up.
            let flags = u32::from_str_radix(flags.trim_start_matches("0x"), 16).unwrap_or(UP);
            if flags & UP != 0 {
                return Err(InUse::Interface { device: self.device, name });
            }
        }
        Ok(())
    }

    fn disks(&self) -> Result<(), InUse> {
        let disks = self.members("block");
        let mounts_file = self.host.path("proc/self/mountinfo");
        let mounts = match fs::read_to_string(&mounts_file) {
            Ok(mounts) => mounts,
            Err(_) if disks.is_empty() => return Ok(()),
            Err(source) => return Err(unread(self.device, &mounts_file, source)),
        };
        let swaps = self.text(&self.host.path("proc/swaps"));
        for (name, path) in disks {
            let number = self.text(&path.join("dev"));
            let node = format!("/dev/{name}");
            // Fields: id, parent, major:minor, root, mount point, ... ` - ` type source (proc_pid_mountinfo(5)).
            let is_mounted = |line: &&str| {
                let mut fields = line.split_whitespace();
                fields.nth(2) == Some(&number) || fields.any(|field| field == node)
            };
            let holder = fs::read_dir(path.join("holders")).into_iter().flatten().flatten().next();
            let how = if let Some(line) = mounts.lines().find(is_mounted) {
                format!("mounted at {}", line.split_whitespace().nth(4).unwrap_or("?"))
            } else if swaps.lines().any(|line| line.split_whitespace().next() == Some(&node)) {
                "in use for swapping".to_owned()
            } else if let Some(holder) = holder {
                format!("held by {}", holder.file_name().to_string_lossy())
            } else {
                continue;
            };
            return Err(InUse::Disk { device: self.device, name, how });
        }
        Ok(())
    }

    fn displays_and_consoles(&self) -> Result<(), InUse> {
        if self.text(&self.folder.join("boot_vga")) == "1" {
            return Err(InUse::BootDisplay { device: self.device });
        }
        let active = self.text(&self.host.path("sys/class/tty/console/active"));
        let consoles =
            self.members("tty").into_iter().filter(|(name, _)| active.split_whitespace().any(|a| a == name));
        let screens = self.members("graphics");
        match consoles.chain(screens).next() {
            Some((name, _)) => Err(InUse::Console { device: self.device, name }),
            None => Ok(()),
        }
    }

    /// Device nodes of the function that a process has open: disks, displays, VFIO's group.
    fn open_nodes(&self) -> Result<(), InUse> {
        let mut nodes = Vec::new();
        nodes_below(&self.folder, 8, &mut nodes);
        if let Some(group) = self.host.function(self.device).ok().and_then(|function| function.group) {
            nodes.push(format!("vfio/{group}"));
        }
        for process in fs::read_dir(self.host.path("proc")).into_iter().flatten().flatten() {
            let Some(id) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            for file in fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten() {
                let target = fs::read_link(file.path()).unwrap_or_default();
                let open =
                    |node: &&String| target.strip_prefix("/dev").is_ok_and(|rest| rest == Path::new(node));
                if let Some(node) = nodes.iter().find(open) {
                    let name = self.text(&process.path().join("comm"));
                    let process = format!("{id} ({name})");
                    return Err(InUse::Open { device: self.device, node: node.clone(), process });
                }
            }
        }
        Ok(())
    }
}

/// Names in `/dev` of what is in this folder and below, as far down as `depth`. Links lead elsewhere.
fn nodes_below(folder: &Path, depth: u32, nodes: &mut Vec<String>) {
    let uevent = fs::read_to_string(folder.join("uevent")).unwrap_or_default();
    nodes.extend(uevent.lines().filter_map(|line| line.strip_prefix("DEVNAME=")).map(ToOwned::to_owned));
    if depth == 0 {
        return;
    }
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            nodes_below(&entry.path(), depth - 1, nodes);
        }
    }
}

#[cfg(test)]
#[path = "usage_tests.rs"]
mod tests;
