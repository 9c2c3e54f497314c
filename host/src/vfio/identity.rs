//! Whether an open device is the one at the address that the VMM says.
//!
//! Everything that is judged by sysfs is judged by that address: the group, the unit, the requester id. For another
//! device it would say nothing.

use super::error::AttachError;
use super::pci::Description;
use super::vectors::SetIrqs;
use crate::eventfd::EventFd;
use crate::isolation::{Host, IsolationError};
use pvir_abi::DeviceId;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use vfio_bindings::bindings::vfio::{VFIO_PCI_MSI_IRQ_INDEX, VFIO_PCI_MSIX_IRQ_INDEX};

/// The start of the line of `fdinfo` that has the device's path in sysfs (Linux 6.18, Documentation/filesystems/proc.rst,
/// "VFIO Device files").
const SYSPATH: &str = "vfio-device-syspath:";

/// Compares an open device with what the host has at `address`.
pub(super) fn check(description: &Description, host: &Host, address: DeviceId) -> Result<(), AttachError> {
    let word = |at: usize| u16::from_le_bytes([description.header[at], description.header[at + 1]]);
    check_ids((word(0), word(2)), host, address)?;
    let file = description.device.file();
    if check_node(file, host, address)? || check_syspath(file, address)? {
        return Ok(());
    }
    let (kind, name) = match (description.msix(), description.msi()) {
        (Some(_), _) => (VFIO_PCI_MSIX_IRQ_INDEX, format!("vfio-msix[0]({address})")),
        (None, Some(_)) => (VFIO_PCI_MSI_IRQ_INDEX, format!("vfio-msi[0]({address})")),
        (None, None) => return Ok(()),
    };
    check_interrupt(&description.irqs, host, address, kind, &name)
}

/// Vendor id and device id.
fn check_ids((vendor, product): (u16, u16), host: &Host, address: DeviceId) -> Result<(), AttachError> {
    let reason = |reason| IsolationError::NotIsolated { device: address, reason };
    let function = host.function(address).map_err(reason)?;
    if (function.vendor, function.device) == (vendor, product) {
        return Ok(());
    }
    let (other_vendor, other) = (function.vendor, function.device);
    let what = format!("it is {vendor:04x}:{product:04x}, and sysfs has {other_vendor:04x}:{other:04x}");
    Err(AttachError::OtherDevice { device: address, what })
}

/// Whether the descriptor is a character device, and then that of `address`.
pub(super) fn check_node(file: &File, host: &Host, address: DeviceId) -> Result<bool, AttachError> {
    let unread = |path: String| move |source| AttachError::File { device: address, path, source };
    let metadata = file.metadata().map_err(unread("the open device".into()))?;
    if !metadata.file_type().is_char_device() {
        return Ok(false);
    }
    let opened = format!("{}:{}", libc::major(metadata.rdev()), libc::minor(metadata.rdev()));
    let folder = host.device_path(address).join("vfio-dev");
    let shown = || folder.display().to_string();
    let mut known = Vec::new();
    for node in fs::read_dir(&folder).map_err(unread(shown()))? {
        let path = node.map_err(unread(shown()))?.path().join("dev");
        let number = fs::read_to_string(&path).map_err(unread(path.display().to_string()))?;
        known.push(number.trim().to_owned());
    }
    if known.contains(&opened) {
        return Ok(true);
    }
    let what = format!("it is character device {opened}, and sysfs has {}", known.join(", "));
    Err(AttachError::OtherDevice { device: address, what })
}

/// Whether the kernel says where the device of the descriptor is, and then that it is `address`.
fn check_syspath(file: &File, address: DeviceId) -> Result<bool, AttachError> {
    let path = format!("/proc/self/fdinfo/{}", file.as_raw_fd());
    match fs::read_to_string(&path) {
        Ok(text) => says_where(&text, address),
        // Without /proc there is the other way.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(AttachError::File { device: address, path, source }),
    }
}

fn says_where(fdinfo: &str, address: DeviceId) -> Result<bool, AttachError> {
    let Some(path) = fdinfo.lines().find_map(|line| line.strip_prefix(SYSPATH)) else { return Ok(false) };
    if path.trim().rsplit('/').next() == Some(address.to_string().as_str()) {
        return Ok(true);
    }
    Err(AttachError::OtherDevice { device: address, what: format!("it is {}", path.trim()) })
}

/// Starts the device's first interrupt, looks how the kernel calls it, and stops it again.
fn check_interrupt(
    irqs: &impl SetIrqs,
    host: &Host,
    address: DeviceId,
    kind: u32,
    name: &str,
) -> Result<(), AttachError> {
    let path = host.path("proc/interrupts");
    let is_listed = || -> Result<bool, AttachError> {
        let text = fs::read_to_string(&path).map_err(|source| AttachError::File {
            device: address,
            path: path.display().to_string(),
            source,
        })?;
        Ok(text.lines().any(|line| line.split_whitespace().next_back() == Some(name)))
    };
    let other = |what: String| AttachError::OtherDevice { device: address, what };
    let failed = |operation| move |source| AttachError::Io { device: address, operation, source };
    if is_listed()? {
        return Err(other(format!(
            "{name} is started already, so that of this descriptor cannot be told from it"
        )));
    }
    let eventfd = EventFd::new().map_err(failed("making an eventfd"))?;
    irqs.start(kind, 0, &[&eventfd]).map_err(failed("starting an interrupt to learn its name"))?;
    let listed = is_listed();
    irqs.disable(kind).map_err(failed("stopping the interrupt that was started to learn its name"))?;
    if listed? {
        Ok(())
    } else {
        Err(other(format!("an interrupt of it is not called {name} in {}", path.display())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvir_abi::Bdf;
    use std::cell::{Cell, RefCell};
    use std::path::PathBuf;

    fn id(device: u8) -> DeviceId {
        DeviceId::new(0, Bdf::new(0, device, 0).unwrap())
    }

    /// A host with a device 5 (8086:10c9) and no interrupts of VFIO.
    fn host() -> (tempfile::TempDir, Host) {
        let root = tempfile::tempdir().unwrap();
        let host = Host::at(root.path());
        let folder = host.device_path(id(5));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("vendor"), "0x8086\n").unwrap();
        fs::write(folder.join("device"), "0x10c9\n").unwrap();
        fs::write(folder.join("class"), "0x020000\n").unwrap();
        fs::create_dir(host.path("proc")).unwrap();
        fs::write(host.path("proc/interrupts"), OTHERS).unwrap();
        (root, host)
    }

    const OTHERS: &str =
        "      CPU0\n 25:   4  IR-PCI-MSIX-0000:00:06.0  0-edge  vfio-msix[0](0000:00:06.0)\n";

    /// The interrupts of a device, listed under the address where it really is.
    struct Kernel {
        list: PathBuf,
        at: DeviceId,
        calls: RefCell<Vec<&'static str>>,
        refuses: Cell<Option<i32>>,
    }

    impl Kernel {
        fn new(host: &Host, at: DeviceId) -> Self {
            let list = host.path("proc/interrupts");
            Self { list, at, calls: RefCell::default(), refuses: Cell::default() }
        }
        fn check(&self, host: &Host, address: DeviceId) -> Result<(), AttachError> {
            let name = format!("vfio-msix[0]({address})");
            check_interrupt(self, host, address, VFIO_PCI_MSIX_IRQ_INDEX, &name)
        }
    }

    impl SetIrqs for Kernel {
        fn start(&self, kind: u32, first: u32, eventfds: &[&EventFd]) -> io::Result<()> {
            assert_eq!((kind, first, eventfds.len()), (VFIO_PCI_MSIX_IRQ_INDEX, 0, 1));
            self.calls.borrow_mut().push("start");
            if let Some(errno) = self.refuses.get() {
                return Err(io::Error::from_raw_os_error(errno));
            }
            let line = format!(" 27:  0  IR-PCI-MSIX  0-edge  vfio-msix[0]({})\n", self.at);
            fs::write(&self.list, format!("{OTHERS}{line}"))
        }
        fn stop(&self, _: u32, _: u32, _: u32) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn disable(&self, _: u32) -> io::Result<()> {
            self.calls.borrow_mut().push("disable");
            fs::write(&self.list, OTHERS)
        }
    }

    fn what(result: Result<(), AttachError>) -> String {
        match result {
            Err(AttachError::OtherDevice { what, .. }) => what,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_device_with_other_ids_is_another() {
        let (_root, host) = host();
        check_ids((0x8086, 0x10c9), &host, id(5)).unwrap();
        let said = what(check_ids((0x8086, 0x10ca), &host, id(5)));
        assert_eq!(said, "it is 8086:10ca, and sysfs has 8086:10c9");
        assert!(check_ids((0x8086, 0x10c9), &host, id(7)).is_err());
    }

    #[test]
    fn a_node_is_compared_by_its_number() {
        let (_root, host) = host();
        let null = File::open("/dev/null").unwrap();
        let node = host.device_path(id(5)).join("vfio-dev/vfio0");
        assert!(matches!(check_node(&null, &host, id(5)), Err(AttachError::File { .. })));
        fs::create_dir_all(&node).unwrap();
        fs::write(node.join("dev"), "1:3\n").unwrap();
        assert!(check_node(&null, &host, id(5)).unwrap());
        fs::write(node.join("dev"), "511:0\n").unwrap();
        let said = what(check_node(&null, &host, id(5)).map(|_| ()));
        assert_eq!(said, "it is character device 1:3, and sysfs has 511:0");
        assert!(!check_node(&tempfile::tempfile().unwrap(), &host, id(5)).unwrap());
    }

    #[test]
    fn a_kernel_that_says_where_the_device_is_is_believed() {
        let text = "pos:\t0\nvfio-device-syspath: /sys/devices/pci0000:00/0000:00:01.0/0000:00:05.0\n";
        assert!(says_where(text, id(5)).unwrap());
        assert!(!says_where("pos:\t0\n", id(5)).unwrap());
        let said = what(says_where(text, id(1)).map(|_| ()));
        assert!(said.ends_with("/0000:00:05.0"), "its parent is another device: {said}");
        assert!(!check_syspath(&tempfile::tempfile().unwrap(), id(5)).unwrap());
    }

    #[test]
    fn otherwise_an_interrupt_says_where_it_is_and_is_stopped_again() {
        let (_root, host) = host();
        let kernel = Kernel::new(&host, id(5));
        kernel.check(&host, id(5)).unwrap();
        assert_eq!(*kernel.calls.borrow(), ["start", "disable"]);
        let twin = Kernel::new(&host, id(7));
        assert!(what(twin.check(&host, id(5))).starts_with("an interrupt of it is not called vfio-msix[0]"));
        assert_eq!(*twin.calls.borrow(), ["start", "disable"]);
    }

    #[test]
    fn an_interrupt_that_runs_already_proves_nothing() {
        let (_root, host) = host();
        let kernel = Kernel::new(&host, id(5));
        assert!(what(kernel.check(&host, id(6))).contains("is started already"));
        assert!(kernel.calls.borrow().is_empty());
    }

    #[test]
    fn what_cannot_be_learned_is_an_error() {
        let (_root, host) = host();
        let kernel = Kernel::new(&host, id(5));
        kernel.refuses.set(Some(libc::EINVAL));
        let error = kernel.check(&host, id(5)).unwrap_err();
        assert!(
            matches!(&error, AttachError::Io { source, .. } if source.raw_os_error() == Some(libc::EINVAL))
        );
        fs::remove_file(host.path("proc/interrupts")).unwrap();
        assert!(matches!(kernel.check(&host, id(5)), Err(AttachError::File { .. })));
    }
}
