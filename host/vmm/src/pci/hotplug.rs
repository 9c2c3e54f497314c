//! The registers by which a guest is told of devices that have come or are to go, and by which it lets one go.
//!
//! Three registers of 32 bits, with a bit for each device of the bus, behind ACPI's generic event device ("ACPI
//! Specification 6.5", section 5.6.9 "Interrupt-signaled ACPI events"): the DSDT has the code that reads them. A guest
//! that has no use for ACPI reads them itself (`docs/plugging.md`).

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::devfn::DevFn;
use crate::vm::layout;

/// The bit of UP that is no device's: a device has gone without being asked for, and the guest looks at all of the bus.
pub(crate) const LOOK: u32 = 1;

/// The registers, in a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HotplugState {
    /// What has come and was not read yet.
    up: u32,
    /// What is to go and was not read yet.
    down: u32,
    /// What is to go and is still there.
    leaving: u32,
}

impl HotplugState {
    /// The device at this place is not there any more.
    fn forget(&mut self, place: DevFn) {
        for register in [&mut self.up, &mut self.down, &mut self.leaving] {
            *register &= !bit(place);
        }
    }
}

/// The registers.
pub(crate) struct HotplugPorts {
    state: Mutex<HotplugState>,
    /// Raises the interrupt that says that there is something to be read.
    interrupt: Box<dyn Fn() + Send + Sync>,
    /// Takes out a device that the guest lets go. It is called with the registers locked, and uses none of them.
    eject: Box<dyn Fn(DevFn) + Send + Sync>,
}

fn bit(place: DevFn) -> u32 {
    1 << place.number()
}

impl HotplugPorts {
    pub(crate) fn new(
        interrupt: Box<dyn Fn() + Send + Sync>,
        eject: Box<dyn Fn(DevFn) + Send + Sync>,
    ) -> Self {
        Self { state: Mutex::default(), interrupt, eject }
    }

    fn state(&self) -> MutexGuard<'_, HotplugState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the guest of a device that has come.
    pub(crate) fn announce(&self, place: DevFn) {
        self.state().up |= bit(place);
        (self.interrupt)();
    }

    /// Asks the guest for a device, once more if it was asked for before. Answers `false`, and asks for nothing, if the device
    /// is not there any more by `is_there`: the guest may let it go at this very moment, and what comes to its place next
    /// was not asked for.
    pub(crate) fn ask_for(&self, place: DevFn, is_there: impl FnOnce() -> bool) -> bool {
        {
            let mut state = self.state();
            if !is_there() {
                return false;
            }
            state.down |= bit(place);
            state.leaving |= bit(place);
        }
        (self.interrupt)();
        true
    }

    /// Whether the guest was asked for the device.
    pub(crate) fn is_leaving(&self, place: DevFn) -> bool {
        self.state().leaving & bit(place) != 0
    }

    /// The device at this place was taken from the guest, which did not let it go: it is told to look.
    pub(crate) fn was_taken(&self, place: DevFn) {
        {
            let mut state = self.state();
            state.forget(place);
            state.up |= LOOK;
        }
        (self.interrupt)();
    }

    /// The machine is reset: there is nothing to be read, and what was to go goes.
    pub(crate) fn reset(&self) {
        let leaving = self.state().leaving;
        self.eject_all(leaving);
        *self.state() = HotplugState::default();
    }

    pub(crate) fn save(&self) -> HotplugState {
        *self.state()
    }

    pub(crate) fn restore(&self, saved: HotplugState) {
        *self.state() = saved;
    }

    /// Reads a register. UP and DOWN are read once: then they are zero.
    pub(crate) fn read(&self, port: u16, data: &mut [u8]) {
        data.fill(0xff);
        let Ok(register) = <&mut [u8; 4]>::try_from(data) else { return };
        let mut state = self.state();
        let value = match port {
            layout::HOTPLUG_UP => std::mem::take(&mut state.up),
            layout::HOTPLUG_DOWN => std::mem::take(&mut state.down),
            _ => return,
        };
        *register = value.to_le_bytes();
    }

    /// Writes a register. When a write of EJECT returns, the devices of its bits are not there any more.
    pub(crate) fn write(&self, port: u16, data: &[u8]) {
        if let (layout::HOTPLUG_EJECT, Ok(value)) = (port, data.try_into()) {
            self.eject_all(u32::from_le_bytes(value));
        }
    }

    fn eject_all(&self, devices: u32) {
        // The host bridge is there for good.
        let places = (1..32_u8).filter(|number| devices >> number & 1 != 0).map(DevFn::device);
        places.for_each(|place| {
            // In one piece: another device that comes to this place, and is asked for, does so afterwards.
            let mut state = self.state();
            (self.eject)(place);
            state.forget(place);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    struct Fixture {
        ports: HotplugPorts,
        interrupts: Arc<AtomicU32>,
        ejected: Arc<Mutex<Vec<String>>>,
    }

    fn fixture() -> Fixture {
        let (interrupts, ejected) = (Arc::<AtomicU32>::default(), Arc::<Mutex<Vec<String>>>::default());
        let (counted, noted) = (Arc::clone(&interrupts), Arc::clone(&ejected));
        let ports = HotplugPorts::new(
            Box::new(move || _ = counted.fetch_add(1, Ordering::Relaxed)),
            Box::new(move |place| noted.lock().unwrap().push(place.to_string())),
        );
        Fixture { ports, interrupts, ejected }
    }

    impl Fixture {
        fn read(&self, port: u16) -> u32 {
            let mut data = [0; 4];
            self.ports.read(port, &mut data);
            u32::from_le_bytes(data)
        }

        fn ejected(&self) -> Vec<String> {
            std::mem::take(&mut *self.ejected.lock().unwrap())
        }
    }

    #[test]
    fn what_has_come_and_what_is_to_go_is_read_once() {
        let fixture = fixture();
        let place = DevFn::device;
        fixture.ports.announce(place(3));
        fixture.ports.announce(place(31));
        assert!(fixture.ports.ask_for(place(4), || true) && fixture.ports.ask_for(place(4), || true));
        assert!(!fixture.ports.ask_for(place(5), || false), "it has gone");
        assert_eq!(fixture.interrupts.load(Ordering::Relaxed), 4);
        let mut half = [0; 2];
        fixture.ports.read(layout::HOTPLUG_UP, &mut half);
        assert_eq!(half, [0xff; 2], "no access of another width reads anything");
        assert_eq!(
            (fixture.read(layout::HOTPLUG_UP), fixture.read(layout::HOTPLUG_UP)),
            (1 << 3 | 1 << 31, 0)
        );
        assert!(fixture.ports.is_leaving(place(4)) && !fixture.ports.is_leaving(place(3)));
        assert_eq!((fixture.read(layout::HOTPLUG_DOWN), fixture.read(layout::HOTPLUG_DOWN)), (1 << 4, 0));
        assert!(fixture.ports.is_leaving(place(4)), "it is still there");
        assert_eq!(fixture.read(layout::HOTPLUG_EJECT), u32::MAX);
    }

    #[test]
    fn a_guest_lets_devices_go_but_not_the_host_bridge() {
        let fixture = fixture();
        let eject = |data: &[u8]| fixture.ports.write(layout::HOTPLUG_EJECT, data);
        eject(&u32::MAX.to_le_bytes()[..2]);
        eject(&1_u32.to_le_bytes());
        fixture.ports.write(layout::HOTPLUG_UP, &[0xff; 4]);
        assert!(fixture.ejected().is_empty());
        eject(&(1_u32 << 2 | 1 << 31).to_le_bytes());
        assert_eq!(fixture.ejected(), ["00:02.0", "00:1f.0"]);
    }

    #[test]
    fn what_comes_next_to_a_place_is_asked_for_after_what_was_there_has_gone() {
        // The device goes, and another thread asks for the next one at once: before the write of EJECT returns.
        let (out, next) = std::sync::mpsc::channel();
        let eject = move |place| {
            out.send(place).unwrap();
            // Time for the other thread to come before, if it could.
            std::thread::sleep(std::time::Duration::from_millis(20));
        };
        let ports = HotplugPorts::new(Box::new(|| ()), Box::new(eject));
        std::thread::scope(|scope| {
            let ports = &ports;
            scope.spawn(move || ports.ask_for(next.recv().unwrap(), || true));
            ports.write(layout::HOTPLUG_EJECT, &(1_u32 << 2).to_le_bytes());
        });
        let mut down = [0; 4];
        ports.read(layout::HOTPLUG_DOWN, &mut down);
        assert_eq!(u32::from_le_bytes(down), 1 << 2, "the guest is told of the next one");
    }

    #[test]
    fn what_goes_unasked_is_told_as_a_change_of_the_bus() {
        let fixture = fixture();
        fixture.ports.announce(DevFn::device(3));
        fixture.ports.ask_for(DevFn::device(3), || true);
        fixture.ports.was_taken(DevFn::device(3));
        assert_eq!((fixture.read(layout::HOTPLUG_UP), fixture.read(layout::HOTPLUG_DOWN)), (LOOK, 0));
        assert_eq!((fixture.read(layout::HOTPLUG_UP), fixture.interrupts.load(Ordering::Relaxed)), (0, 3));
    }

    #[test]
    fn at_a_reset_goes_what_was_to_go() {
        let fixture = fixture();
        fixture.ports.announce(DevFn::device(1));
        fixture.ports.ask_for(DevFn::device(5), || true);
        assert_eq!(fixture.read(layout::HOTPLUG_DOWN), 1 << 5);
        fixture.ports.reset();
        assert_eq!(fixture.ejected(), ["00:05.0"]);
        assert_eq!(fixture.ports.save(), HotplugState::default());
    }
}
