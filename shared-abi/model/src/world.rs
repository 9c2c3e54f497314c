//! The state: what devices, hosts and guests know at one moment.
//!
//! It is small and of fixed size, because millions of it are kept. A field that nobody can see is not here; *ghost* fields
//! are seen by the properties alone.

use pvir_abi::Handle;

/// VMs, each with one device.
pub const VMS: usize = 2;
/// Entries of a device's MSI-X table.
pub const ENTRIES: usize = 2;
/// Places where an interrupt can go: a vector of a vCPU.
pub const TARGETS: usize = 3;
/// GSIs of a VM.
pub const GSIS: usize = 3;
/// IRTEs of the host's remapping unit, which all its devices share.
pub const IRTES: usize = 3;

/// A vector of a vCPU of a VM, by its number. Two of them may be on the same vCPU: nothing here depends on it.
pub type Target = u8;

/// All there is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct World {
    /// The VMs.
    pub vms: [Vm; VMS],
    /// The remapping unit.
    pub irtes: [Irte; IRTES],
    /// How often each choice may still be made.
    pub left: Left,
    /// Ghost: the first breach that a step has seen, if any.
    pub breach: Option<Breach>,
}

/// What a step can do wrong. What can be seen of a state alone is in `properties`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Breach {
    /// An interrupt went where nobody had asked for it.
    Misrouted,
    /// An interrupt arrived for an entry that is not mapped.
    AfterRelease,
    /// KVM was to inject by a GSI without a route.
    NoRoute,
    /// The host delivered what it had not.
    Doubled,
    /// A vCPU took an interrupt for which there was no handler, or another entry's.
    NoHandler,
    /// A device's interrupt reached another VM.
    Foreign,
    /// A handle that was given back, or given before, was taken for a live one.
    DeadHandle,
    /// A VM got more than its quota, or was refused within it.
    Quota,
    /// A device that is cut off interrupted.
    CutOff,
    /// A local APIC's interrupt was not in the saved state.
    LostInSave,
}

/// An entry of the remapping table: which entry of which VM's device it is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Irte {
    /// VM and entry. `None`: not present.
    pub owner: Option<(u8, u8)>,
    /// How often it was given, where the VMM itself is the remapping unit.
    pub generation: u8,
}

/// Address and data, as a device sends them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Pair {
    /// The IRTE that it names.
    pub irte: u8,
    /// Which giving of it, where the VMM itself is the remapping unit.
    pub generation: u8,
}

/// How often each choice may still be made. It bounds the model, and sees to it that every run ends.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Left {
    /// Interrupts that devices raise.
    pub raises: u8,
    /// RETARGETs from one place to another.
    pub moves: u8,
    /// Entries that are parked.
    pub parks: u8,
    /// Entries that the guest masks for a while.
    pub masks: u8,
    /// Entries that are given back, and taken again.
    pub unmaps: u8,
    /// Calls with a handle that was given back.
    pub stale_calls: u8,
    /// DETACHes and ATTACHes.
    pub attaches: u8,
    /// Function level resets.
    pub resets: u8,
    /// Devices that are cut off.
    pub storms: u8,
    /// Events that make pairs stale.
    pub events: u8,
    /// Saves and restores.
    pub saves: u8,
    /// Whatever a hostile guest writes into its table.
    pub scribbles: u8,
}

/// A virtual machine with one device: guest, and the host's part for it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Vm {
    /// The entries of the device, at all three places.
    pub entries: [Entry; ENTRIES],
    /// KVM's lines.
    pub gsis: [Gsi; GSIS],
    /// The host's table of handles.
    pub slots: [Slot; ENTRIES],
    /// IRTEs that the host has counted against the quota.
    pub held: u8,
    /// What the host is doing for this VM under its lock.
    pub work: Option<Work>,
    /// Interrupt requests of the vCPUs, by target. Ghost: for which entries, as bits.
    pub irr: [u8; TARGETS],
    /// What was saved of the local APICs, while a save is under way.
    pub saved_irr: [u8; TARGETS],
    /// Whether the guest has the table. Otherwise it is trapped.
    pub attached: bool,
    /// Bus Master of the device.
    pub bus_master: bool,
    /// The host has cut the device off.
    pub cut_off: bool,
    /// vCPUs and emulated devices stand still.
    pub paused: bool,
    /// The VM's epoch.
    pub epoch: u8,
    /// The epoch that the guest has acted on.
    pub seen: u8,
}

/// One entry: in the device, at the host, and in the guest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Entry {
    /// In the device.
    pub store: Store,
    /// At the host.
    pub line: Line,
    /// In the guest's kernel.
    pub guest: Guest,
}

/// The entry of the physical table, and what the device has to say by it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Store {
    /// The device wants something of its driver.
    pub cause: bool,
    /// The pending bit.
    pub pending: bool,
    /// The mask bit.
    pub masked: bool,
    /// Address and data.
    pub pair: Option<Pair>,
    /// A message that was sent and has not arrived. A second one waits in the device.
    pub wire: Option<Pair>,
}

/// The host's line of an entry: eventfd, GSI, IRTE. The irqfd is with the GSI.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Line {
    /// The GSI, which has route and irqfd.
    pub gsi: Option<u8>,
    /// The device's interrupt is started: the IRTE behind the pair signals the eventfd.
    pub started: Option<Pair>,
    /// The eventfd has counted something.
    pub count: bool,
    /// An interrupt is held for the entry without an eventfd: after ATTACH, DETACH, or a restore.
    pub owed: bool,
    /// The place in the table of handles.
    pub slot: Option<u8>,
    /// Where the host has the entry routed; `None` is parked, or not mapped.
    pub target: Option<Target>,
    /// Ghost: where the guest has asked for its interrupts by the last completed call.
    pub asked: Option<Target>,
    /// Ghost: the host has accepted an interrupt, and has neither delivered it nor been allowed to drop it.
    pub accepted: bool,
}

/// What the guest's kernel knows of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Guest {
    /// How far it is.
    pub phase: Phase,
    /// Where its interrupt is to go. `None`: not yet chosen.
    pub target: Option<Target>,
    /// The IRTE is parked.
    pub parked: bool,
    /// Where a handler of the entry is in place, as bits.
    pub handlers: u8,
    /// The IRTE.
    pub handle: Handle,
    /// What MAP has answered.
    pub pair: Option<Pair>,
    /// A handle that was given back.
    pub old: Handle,
    /// It is to be raised once in software.
    pub soft: bool,
}

/// How far a guest is with an entry.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Phase {
    /// Nothing is mapped, or programmed into a trapped table.
    #[default]
    Idle,
    /// MAP was refused for want of something.
    Refused,
    /// The handle is there.
    Mapped,
    /// The pair, or in a trapped table the guest's own message, is written, and masked.
    Programmed,
    /// Unmasked.
    Live,
}

/// KVM's line: a route, and an irqfd.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Gsi {
    /// A line has it, or its irqfd is still to be taken off.
    pub used: bool,
    /// The line has ended, and its irqfd is still on.
    pub retired: bool,
    /// Where it injects.
    pub route: Option<Target>,
    /// The entry whose eventfd is attached.
    pub irqfd: Option<u8>,
    /// What KVM's work queue has to inject.
    pub queue: Queue,
    /// The host's own note: the queue may have something.
    pub may_be_queued: bool,
}

/// An injection of what an eventfd had counted before it was attached (`kvm_irqfd_assign`, virt/kvm/eventfd.c).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Queue {
    /// Nothing.
    #[default]
    Empty,
    /// The injection is to read the route.
    Waiting,
    /// It has read the route, and a change of the route does not wait for it.
    Read(Target),
}

/// A place in the host's table of handles.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Slot {
    /// How often it was given.
    pub generation: u8,
    /// The entry that has it.
    pub entry: Option<u8>,
}

/// What the host does for a VM under the VM's lock, and how far it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Work {
    /// What it is.
    pub kind: Kind,
    /// The entry, where it is about one.
    pub entry: u8,
    /// The target, where it has one.
    pub target: Option<Target>,
    /// What was true of the entries at its beginning, as bits; what that is depends on the kind.
    pub noted: u8,
    /// The number of the next step of its plan.
    pub at: u8,
}

/// The kinds of work.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// MAP of an entry.
    Map,
    /// RETARGET of an entry.
    Retarget,
    /// UNMAP of an entry.
    Unmap,
    /// ATTACH of the device.
    Attach,
    /// DETACH of the device.
    Detach,
    /// A function level reset that the guest has asked for.
    Reset,
    /// The host cuts the device off.
    CutOff,
    /// The pairs of the device have gone stale.
    Stale,
    /// Save, and restore in another process.
    Save,
    /// The guest unmasks an entry of a trapped table.
    TrapUnmask,
    /// The guest masks one.
    TrapMask,
    /// The guest moves one that is live.
    TrapMove,
}

impl Left {
    /// Whether nothing is left.
    #[must_use]
    pub fn is_used_up(&self) -> bool {
        *self == Self::default()
    }
}

impl Vm {
    /// Numbers of entries for which `is` holds, as bits.
    #[must_use]
    pub fn entries_where(&self, is: impl Fn(&Entry) -> bool) -> u8 {
        let numbered = (0..).zip(&self.entries);
        numbered.fold(0, |bits, (number, entry)| bits | u8::from(is(entry)) << number)
    }

    /// The GSI to which an entry's eventfd is attached.
    #[must_use]
    pub fn irqfd_of(&self, entry: u8) -> Option<usize> {
        self.gsis.iter().position(|gsi| gsi.irqfd == Some(entry) && !gsi.retired)
    }

    /// Whether KVM's queue has something of an entry.
    #[must_use]
    pub fn is_queued(&self, entry: u8) -> bool {
        self.irqfd_of(entry).is_some_and(|gsi| self.gsis[gsi].queue != Queue::Empty)
    }
}
