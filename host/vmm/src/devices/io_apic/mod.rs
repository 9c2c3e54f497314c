//! The I/O APIC ("82093AA I/O Advanced Programmable Interrupt Controller", Intel 290566-001), for pins of devices of the
//! machine itself. KVM keeps the local APICs and leaves this one to user space (`KVM_CAP_SPLIT_IRQCHIP`).

mod redirection;

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, bail};
use redirection::Redirection;
use serde::{Deserialize, Serialize};

use crate::vm::RESERVED_PINS;
use crate::vm::message::MessageSink;

/// The two registers that memory shows, by which the others are reached.
const SELECT: u64 = 0x00;
const WINDOW: u64 = 0x10;
/// The registers that are reached by index and data.
const ID: u8 = 0x00;
const VERSION: u8 = 0x01;
const ARBITRATION: u8 = 0x02;
const REDIRECTIONS: u8 = 0x10;

const PINS: usize = RESERVED_PINS as usize;
/// Version 1.1 of the chip, and the number of its last entry.
const VERSION_VALUE: u32 = 0x11 | (RESERVED_PINS - 1) << 16;
/// The bits of the id register that can be set.
const ID_BITS: u32 = 0x0f00_0000;

/// The chip in a snapshot.
#[derive(Serialize, Deserialize)]
pub(crate) struct SavedIoApic {
    selected: u8,
    id: u32,
    /// The entry of each pin, and whether an edge is pending.
    pins: Vec<(Redirection, bool)>,
}

/// The I/O APIC, shared by the vCPUs and by what raises its pins.
pub(crate) struct IoApic {
    messages: Arc<dyn MessageSink>,
    state: Mutex<IoApicState>,
}

struct IoApicState {
    selected: u8,
    id: u32,
    pins: [Pin; PINS],
}

#[derive(Clone, Copy)]
struct Pin {
    entry: Redirection,
    /// An edge came while the entry was masked. The chip itself would forget it; KVM's and QEMU's keep it, and guests
    /// that mask for a moment lose nothing.
    pending: bool,
}

impl IoApic {
    /// All pins masked.
    pub(crate) fn new(messages: Arc<dyn MessageSink>) -> Self {
        Self { messages, state: Mutex::new(IoApicState::after_reset()) }
    }

    /// The machine is reset: all pins are masked, and nothing is pending.
    pub(crate) fn reset(&self) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = IoApicState::after_reset();
    }

    /// The registers, for a snapshot. No vCPU runs.
    pub(crate) fn save(&self) -> SavedIoApic {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let pins = state.pins.iter().map(|pin| (pin.entry, pin.pending)).collect();
        SavedIoApic { selected: state.selected, id: state.id, pins }
    }

    /// Sets the registers to what [`save`](Self::save) has answered.
    ///
    /// # Errors
    /// If no guest can have set them so.
    pub(crate) fn restore(&self, saved: &SavedIoApic) -> Result<()> {
        let possible = saved.id & !ID_BITS == 0 && saved.pins.iter().all(|(entry, _)| entry.is_possible());
        let pins: Vec<Pin> = saved.pins.iter().map(|&(entry, pending)| Pin { entry, pending }).collect();
        match <[Pin; PINS]>::try_from(pins) {
            Ok(pins) if possible => {
                let state = IoApicState { selected: saved.selected, id: saved.id, pins };
                *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
                Ok(())
            }
            _ => bail!("its I/O APIC has registers that no guest can set"),
        }
    }

    /// A device gives an edge to a pin.
    pub(crate) fn raise(&self, pin: u8) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pin) = state.pins.get_mut(usize::from(pin)) {
            pin.pending = true;
            self.deliver(pin);
        }
    }

    /// The guest reads one of the two registers.
    pub(crate) fn read(&self, offset: u64, data: &mut [u8]) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let value = match offset {
            SELECT => state.selected.into(),
            WINDOW => state.register(),
            _ => 0,
        };
        data.fill(0);
        data.iter_mut().zip(value.to_le_bytes()).for_each(|(to, from)| *to = from);
    }

    /// The guest writes a register. Only whole doublewords count, as in the chip.
    pub(crate) fn write(&self, offset: u64, data: &[u8]) {
        let Ok(bytes) = data.try_into() else { return };
        let value = u32::from_le_bytes(bytes);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match offset {
            SELECT => [state.selected, ..] = bytes,
            WINDOW if state.selected == ID => state.id = value & ID_BITS,
            WINDOW => {
                if let Some((pin, high)) = state.selected_pin() {
                    pin.entry.set_half(high, value);
                    self.deliver(pin);
                }
            }
            _ => {}
        }
    }

    /// Under the lock, so that an entry that changes is used whole.
    fn deliver(&self, pin: &mut Pin) {
        if pin.pending && !pin.entry.is_masked() {
            pin.pending = false;
            self.messages.send(pin.entry.message());
        }
    }
}

impl IoApicState {
    fn after_reset() -> Self {
        let pin = Pin { entry: Redirection::MASKED, pending: false };
        Self { selected: 0, id: 0, pins: [pin; PINS] }
    }

    fn register(&mut self) -> u32 {
        match self.selected {
            ID | ARBITRATION => self.id,
            VERSION => VERSION_VALUE,
            _ => self.selected_pin().map_or(0, |(pin, high)| pin.entry.half(high)),
        }
    }

    /// The pin whose entry is selected, and which half of it.
    fn selected_pin(&mut self) -> Option<(&mut Pin, bool)> {
        let index = self.selected.checked_sub(REDIRECTIONS)?;
        Some((self.pins.get_mut(usize::from(index / 2))?, index % 2 == 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvir_abi::Pair;

    #[derive(Default)]
    struct Sent(Mutex<Vec<Pair>>);

    impl MessageSink for Sent {
        fn send(&self, message: Pair) {
            self.0.lock().unwrap().push(message);
        }
    }

    fn chip() -> (IoApic, Arc<Sent>) {
        let sent = Arc::new(Sent::default());
        (IoApic::new(sent.clone()), sent)
    }

    fn set(chip: &IoApic, register: u8, value: u32) {
        chip.write(SELECT, &u32::from(register).to_le_bytes());
        chip.write(WINDOW, &value.to_le_bytes());
    }

    fn get(chip: &IoApic, register: u8) -> u32 {
        chip.write(SELECT, &u32::from(register).to_le_bytes());
        let mut data = [0xee; 4];
        chip.read(WINDOW, &mut data);
        u32::from_le_bytes(data)
    }

    fn vectors(sent: &Sent) -> Vec<u8> {
        sent.0.lock().unwrap().iter().map(|message| message.data.to_le_bytes()[0]).collect()
    }

    #[test]
    fn version_says_24_pins_and_an_id_keeps_its_four_bits() {
        let (chip, _) = chip();
        set(&chip, ID, u32::MAX);
        assert_eq!((get(&chip, VERSION), get(&chip, ID)), (0x0017_0011, 0x0f00_0000));
    }

    #[test]
    fn an_edge_sends_the_message_of_its_own_pin() {
        let (chip, sent) = chip();
        set(&chip, REDIRECTIONS + 9, 0x0100_0000);
        set(&chip, REDIRECTIONS + 8, 0x34);
        chip.raise(3);
        chip.raise(4);
        chip.raise(4);
        let message = Pair { address: 0xfee0_1000, data: 0x34 };
        assert_eq!(*sent.0.lock().unwrap(), [message, message]);
    }

    #[test]
    fn edges_at_a_masked_pin_are_one_message_when_it_is_unmasked() {
        let (chip, sent) = chip();
        chip.raise(4);
        chip.raise(4);
        set(&chip, REDIRECTIONS + 8, 0x1_0034);
        assert!(vectors(&sent).is_empty());
        set(&chip, REDIRECTIONS + 8, 0x34);
        set(&chip, REDIRECTIONS + 8, 0x35);
        assert_eq!(vectors(&sent), [0x34]);
    }

    #[test]
    fn after_a_reset_all_is_masked_and_nothing_is_pending() {
        let (chip, sent) = chip();
        set(&chip, ID, u32::MAX);
        set(&chip, REDIRECTIONS + 8, 0x34);
        chip.raise(5);
        chip.reset();
        chip.raise(4);
        assert_eq!((get(&chip, ID), get(&chip, REDIRECTIONS + 8)), (0, 0x1_0000));
        set(&chip, REDIRECTIONS + 10, 0x35);
        assert!(vectors(&sent).is_empty(), "what came before the reset");
    }

    #[test]
    fn what_does_not_exist_reads_zero_and_takes_nothing() {
        let (chip, sent) = chip();
        set(&chip, REDIRECTIONS + 48, 0x34);
        set(&chip, 0xff, 0x34);
        chip.raise(24);
        chip.write(WINDOW, &[1]);
        assert_eq!((get(&chip, REDIRECTIONS + 48), get(&chip, 0xff)), (0, 0));
        assert!(vectors(&sent).is_empty());
    }
}
