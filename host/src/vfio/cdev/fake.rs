//! The kernel's side of devices with files of their own, stricter than the kernel: what it lets pass with a warning, or
//! leaves to be found later, is a panic here.
//!
//! The rules and errnos are those of Linux 6.12: drivers/vfio/device_cdev.c, drivers/vfio/group.c,
//! drivers/vfio/vfio_main.c, drivers/iommu/iommufd/device.c, drivers/iommu/iommu.c, virt/kvm/vfio.c.

use super::calls::CdevCalls;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// The number of an iommufd.
type Iommufd = u32;

/// An open file, by its number. The last one that is dropped closes it.
pub(super) struct FakeFile {
    pub(super) number: u32,
    state: Arc<Mutex<State>>,
}

impl FakeFile {
    /// Another descriptor of the same open file.
    pub(super) fn duplicate(&self) -> Self {
        let mut state = self.state.lock().unwrap();
        state.files.get_mut(&self.number).unwrap().descriptors += 1;
        Self { number: self.number, state: Arc::clone(&self.state) }
    }
}

impl Drop for FakeFile {
    fn drop(&mut self) {
        let mut state = self.state.lock().unwrap();
        let file = state.files.get_mut(&self.number).unwrap();
        file.descriptors -= 1;
        let left = file.descriptors > 0 || state.of_kvm.contains(&self.number);
        if !left {
            state.files.remove(&self.number);
        }
    }
}

#[derive(Debug)]
struct File {
    node: PathBuf,
    descriptors: u32,
    bound: Option<Iommufd>,
    attached: bool,
    interrupts: bool,
}

/// What the kernel knows of one IOMMU group.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// The files of its devices.
    pub(super) nodes: Vec<PathBuf>,
    /// Whether its own file is open (`/dev/vfio/GROUP`).
    pub(super) file_open: bool,
    /// Whether a driver of the host uses one of its devices.
    pub(super) driver: bool,
    /// Whether its interrupts are remapped.
    pub(super) remaps: bool,
}

#[derive(Debug, Default)]
struct State {
    groups: Vec<Group>,
    files: BTreeMap<u32, File>,
    of_kvm: Vec<u32>,
    next: u32,
    fails: Option<(&'static str, i32)>,
    calls: Vec<&'static str>,
}

impl State {
    fn file(&self, file: &FakeFile) -> &File {
        self.files.get(&file.number).unwrap_or_else(|| panic!("file {} is closed", file.number))
    }

    fn enter(&mut self, call: &'static str) -> io::Result<()> {
        self.calls.push(call);
        match self.fails {
            Some((fails, errno)) if fails == call => Err(io::Error::from_raw_os_error(errno)),
            _ => Ok(()),
        }
    }

    fn bind(&self, file: &FakeFile, iommufd: Iommufd) -> Result<(), i32> {
        let asked = self.file(file);
        let group = self.groups.iter().find(|group| group.nodes.contains(&asked.node)).unwrap();
        let bound =
            |node: &PathBuf| self.files.values().find(|other| other.node == *node && other.bound.is_some());
        if asked.bound.is_some() {
            return Err(libc::EINVAL);
        }
        if group.file_open {
            return Err(libc::EBUSY);
        }
        if bound(&asked.node).is_some() {
            return Err(libc::EINVAL);
        }
        let owner = group.nodes.iter().find_map(bound).and_then(|other| other.bound);
        if !group.remaps || group.driver || owner.is_some_and(|owner| owner != iommufd) {
            return Err(libc::EPERM);
        }
        Ok(())
    }
}

/// The kernel as one process with one iommufd sees it. Clones with other numbers are other processes.
#[derive(Clone)]
pub(super) struct FakeKernel {
    state: Arc<Mutex<State>>,
    iommufd: Iommufd,
    kvm: bool,
}

impl FakeKernel {
    pub(super) fn new(groups: Vec<Group>) -> Self {
        let state = State { groups, ..State::default() };
        Self { state: Arc::new(Mutex::new(state)), iommufd: 1, kvm: true }
    }

    /// Another program, with an iommufd of its own.
    pub(super) fn other(&self) -> Self {
        Self { iommufd: self.iommufd + 1, ..self.clone() }
    }

    pub(super) fn without_kvm(&self) -> Self {
        Self { kvm: false, ..self.clone() }
    }

    /// Has a call fail from now on.
    pub(super) fn fail(&self, call: &'static str, errno: i32) {
        self.state.lock().unwrap().fails = Some((call, errno));
    }

    pub(super) fn group(&self, change: impl FnOnce(&mut Group)) {
        change(&mut self.state.lock().unwrap().groups[0]);
    }

    /// The calls so far.
    pub(super) fn take_calls(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.state.lock().unwrap().calls)
    }

    /// Whether nothing is open, nothing bound, and KVM knows no file.
    pub(super) fn is_idle(&self) -> bool {
        let state = self.state.lock().unwrap();
        state.files.is_empty() && state.of_kvm.is_empty()
    }

    /// Opens the group's own file, as the way by groups does.
    pub(super) fn open_group(&self) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        let bound = state.files.values().any(|file| file.bound.is_some());
        if bound || state.groups[0].file_open {
            return Err(io::Error::from_raw_os_error(libc::EBUSY));
        }
        state.groups[0].file_open = true;
        Ok(())
    }

    /// `VFIO_DEVICE_SET_IRQS`: a device that is bound has interrupts, attached or not.
    pub(super) fn start_interrupts(&self, file: &FakeFile) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        let file = state.files.get_mut(&file.number).unwrap();
        if file.bound.is_none() {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        file.interrupts = true;
        Ok(())
    }

    /// `VFIO_DEVICE_DETACH_IOMMUFD_PT`: the device's DMA ends, and nothing else.
    pub(super) fn detach(&self, file: &FakeFile) {
        let mut state = self.state.lock().unwrap();
        state.files.get_mut(&file.number).unwrap().attached = false;
    }

    pub(super) fn interrupts_run(&self, file: &FakeFile) -> bool {
        self.state.lock().unwrap().file(file).interrupts
    }
}

impl CdevCalls for FakeKernel {
    type File = FakeFile;

    fn open(&self, node: &Path) -> io::Result<FakeFile> {
        let mut state = self.state.lock().unwrap();
        state.enter("open")?;
        if !state.groups.iter().any(|group| group.nodes.iter().any(|known| known == node)) {
            return Err(io::Error::from_raw_os_error(libc::ENOENT));
        }
        state.next += 1;
        let number = state.next;
        let file =
            File { node: node.to_owned(), descriptors: 1, bound: None, attached: false, interrupts: false };
        state.files.insert(number, file);
        Ok(FakeFile { number, state: Arc::clone(&self.state) })
    }

    fn tell_kvm(&self, device: &FakeFile) -> io::Result<bool> {
        let mut state = self.state.lock().unwrap();
        if !self.kvm {
            return Ok(false);
        }
        state.enter("tell KVM")?;
        assert!(state.file(device).bound.is_some(), "KVM is told of a file that may be refused");
        if state.of_kvm.contains(&device.number) {
            return Err(io::Error::from_raw_os_error(libc::EEXIST));
        }
        state.of_kvm.push(device.number);
        Ok(true)
    }

    fn untell_kvm(&self, device: &FakeFile) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        state.enter("untell KVM")?;
        let known = state.of_kvm.iter().position(|number| *number == device.number);
        let at = known.ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))?;
        state.of_kvm.remove(at);
        Ok(())
    }

    fn bind(&self, device: &FakeFile) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        state.enter("bind")?;
        assert!(!state.of_kvm.contains(&device.number), "a refusal would make the kernel lose another VM");
        state.bind(device, self.iommufd).map_err(io::Error::from_raw_os_error)?;
        state.files.get_mut(&device.number).unwrap().bound = Some(self.iommufd);
        Ok(())
    }

    fn attach(&self, device: &FakeFile) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        state.enter("attach")?;
        let file = state.files.get_mut(&device.number).unwrap();
        if file.bound != Some(self.iommufd) {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        assert!(!file.attached, "attached a second time");
        file.attached = true;
        Ok(())
    }
}
